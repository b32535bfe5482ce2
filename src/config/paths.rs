//! Keys that name files. Each ends in `_file`, and a relative path is relative to the file
//! that names it, as `include` is: where a process was started says nothing.

use std::path::{Path, absolute};

use toml::{Table, Value};

/// What the name of a key that holds a path ends with.
pub(super) const PATH_KEY: &str = "_file";

/// Makes the paths of a layer absolute. `folder` is that of its file; empty: the working
/// directory.
pub(super) fn resolve(layer: &mut Table, folder: &Path) {
    for (key, value) in layer.iter_mut() {
        match value {
            Value::Table(table) => resolve(table, folder),
            // An empty one names no file.
            Value::String(path) if key.ends_with(PATH_KEY) && !path.is_empty() => {
                let joined = folder.join(&*path);
                // Without a working directory there is nothing better than what is written.
                let resolved = absolute(&joined).unwrap_or(joined);
                *path = resolved.to_string_lossy().into_owned();
            }
            _ => {}
        }
    }
}
