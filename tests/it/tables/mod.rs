//! Anything a table can hold or become: from the committed row to what is stored of it.

mod changes;
mod labels;
mod large;
mod names;
mod partitions;
mod types;

/// The memory that walhook may need, whatever the tables hold, in MiB.
const MEMORY: u64 = 256;
