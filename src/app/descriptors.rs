//! How many files and sockets the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to what the process is allowed, as shells and service managers start
/// it with a low one for the sake of old programs. Every endpoint that is sent to keeps a
/// connection for a while, and a process that can open no more sends to nobody.
pub(super) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::debug!(
            from = limit.current,
            to = limit.maximum,
            "raised the limit of open files"
        ),
        Err(error) => tracing::warn!(
            limit = limit.current,
            %error,
            "cannot raise the limit of open files (ulimit -n): it bounds how many endpoints can be sent to at once"
        ),
    }
}
