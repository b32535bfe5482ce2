//! How many files and sockets the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Of so many connections to the API, as many as leave descriptors to the store and to
/// endpoints.
pub(super) fn for_api(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let quarter = usize::try_from(limit.unwrap_or(u64::MAX) / 4).unwrap_or(usize::MAX);
    if quarter < wanted {
        tracing::info!(
            connections = quarter,
            "the API takes fewer connections than api.max_connections: a quarter of the files that the \
             process may open (ulimit -n)"
        );
    }
    wanted.min(quarter).max(1)
}

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
