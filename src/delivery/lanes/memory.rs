//! How much waits in memory: what the fast path handed over, and what was claimed, each
//! in a pool of its own, so that neither can keep the other out.

use crate::delivery::Hold;

/// Deliveries of one pool, all lanes together: at the rate that one process reaches,
/// more than half a second's work. What does not fit stays in the store.
const MAX_QUEUED: usize = 8_192;

/// Bytes of bodies of one pool, so that large ones do not use the memory up.
const MAX_QUEUED_BYTES: usize = 8 * 1024 * 1024;

/// A lane may hold the fourth part of what is free: however many hang at once, each lane
/// finds some room, and few lanes find much.
const LANE_SHARE: usize = 4;

/// What a lane, or all of them, hold of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) count: usize,
    pub(super) bytes: usize,
}

impl Holding {
    pub(super) fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes;
    }

    pub(super) fn remove(&mut self, bytes: usize) {
        debug_assert!(self.count > 0, "nothing is removed twice");
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Holdings by the right under which they are in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holdings {
    pub(super) owned: Holding,
    pub(super) leased: Holding,
}

impl Holdings {
    pub(super) fn of_mut(&mut self, hold: Hold) -> &mut Holding {
        match hold {
            Hold::Owned => &mut self.owned,
            Hold::Leased => &mut self.leased,
        }
    }
}

/// Deliveries that the pool can still take.
pub(super) fn free(pool: &Holding) -> usize {
    MAX_QUEUED.saturating_sub(pool.count)
}

/// Bytes that the pool can still take.
pub(super) fn free_bytes(pool: &Holding) -> usize {
    MAX_QUEUED_BYTES.saturating_sub(pool.bytes)
}

/// Whether the pool has room for one more of a lane that holds this much of it.
pub(super) fn admits(pool: &Holding, lane: &Holding, bytes: usize) -> bool {
    // Alone, a body of any size passes: it would otherwise wait for ever.
    pool.count == 0
        || free(pool) > 0
            && free_bytes(pool) >= bytes
            && (lane.count == 0
                || lane.count < share(free(pool)) && lane.bytes + bytes <= share(free_bytes(pool)))
}

/// What one lane may hold where so much is free; at least one.
pub(super) fn share(free: usize) -> usize {
    (free / LANE_SHARE).max(1)
}

/// The pool is less than half full.
pub(super) fn is_roomy(pool: &Holding) -> bool {
    pool.count < MAX_QUEUED / 2 && pool.bytes < MAX_QUEUED_BYTES / 2
}
