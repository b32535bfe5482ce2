//! The source: its server's settings and what our role may do there.

use super::finding::Finding;
use crate::byte_size::ByteSize;
use crate::replication::{SourceConfig, WalPolicy};
use crate::source::rights;
use crate::source::server::{Role, Server};

/// 14 is the oldest release that design and protocol have been verified on.
const OLDEST_VERSION: i32 = 140_000;

/// What the server's settings mean for walhook. `slot_exists`, `slot_active`: ours
/// is among those that are counted.
pub(super) fn server_findings(
    server: &Server,
    slot_exists: bool,
    slot_active: bool,
    separate_store: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(if server.version_number < OLDEST_VERSION {
        Finding::failure(
            format!("the source runs PostgreSQL {}", server.version),
            "walhook needs 14 or later: upgrade the server",
        )
    } else {
        Finding::ok(format!("the source runs PostgreSQL {}", server.version))
    });
    findings.push(if server.wal_level == "logical" {
        Finding::ok("wal_level is `logical`")
    } else {
        Finding::failure(
            format!("wal_level is `{}`", server.wal_level),
            "the WAL must carry logical changes; the setting takes effect after a restart of the server \
             (on Amazon RDS set rds.logical_replication = 1 in the parameter group, on Cloud SQL \
             cloudsql.logical_decoding = on)",
        )
        .mend("alter system set wal_level = 'logical';")
    });
    findings.push(room(
        "max_replication_slots",
        "slots",
        server.max_slots,
        server.slots,
        slot_exists,
    ));
    findings.push(room(
        "max_wal_senders",
        "walsenders",
        server.max_senders,
        server.senders,
        slot_active,
    ));
    if server.keep_size_mb < 0 {
        findings.push(
            Finding::warning(
                "max_slot_wal_keep_size is unlimited",
                "while walhook is down its slot retains the WAL until the disk is full; with a limit the \
                 slot is lost first and the application goes on. Choose what your disk can spare",
            )
            .mend("alter system set max_slot_wal_keep_size = '64GB';")
            .mend("select pg_reload_conf();"),
        );
    } else {
        findings.push(Finding::ok(format!(
            "max_slot_wal_keep_size is {} MB",
            server.keep_size_mb
        )));
    }
    if server.idle_slot_timeout.is_some_and(|timeout| timeout > 0) {
        findings.push(
            Finding::warning(
                "idle_replication_slot_timeout is set",
                "the server invalidates the slot when walhook is down for longer, and what was committed since is lost to it",
            )
            .mend("alter system set idle_replication_slot_timeout = 0;")
            .mend("select pg_reload_conf();"),
        );
    }
    if server.encoding != "UTF8" {
        findings.push(Finding::warning(
            format!("the source's encoding is {}", server.encoding),
            "text that has no place in UTF-8 is parked instead of sent",
        ));
    }
    if server.synchronous_standbys && separate_store {
        findings.push(Finding::warning(
            "the source replicates synchronously and the store is elsewhere",
            "an event can be delivered before its commit is visible to the application",
        ));
    }
    findings
}

/// Where `source.wal_limit` and `source.wal_policy` do not do what they say.
pub(super) fn budget_finding(
    config: &SourceConfig,
    server: &Server,
    shares_cluster: bool,
) -> Option<Finding> {
    let servers = u64::try_from(server.keep_size_mb).ok().map(|mb| mb << 20);
    match (config.wal_limit, servers) {
        (Some(own), Some(servers)) if own.0 > servers => Some(Finding::warning(
            format!("source.wal_limit is {own}, beyond max_slot_wal_keep_size"),
            "the server drops the slot first: set it to no more than the server's limit",
        )),
        (None, None) if config.wal_policy == WalPolicy::Shed => Some(Finding::warning(
            "source.wal_policy is `shed`, and there is no limit to shed at",
            "set source.wal_limit, such as \"20GB\", or max_slot_wal_keep_size on the server",
        )),
        (own, servers) => {
            let limit = own.map(|own| own.0).into_iter().chain(servers).min()?;
            let (least, why) = match shares_cluster {
                true => (
                    1 << 30,
                    "the store is in the same cluster, where each delivery writes some 1.3 KB of log itself",
                ),
                false => (
                    256 << 20,
                    "the server keeps and drops log in segments of 16 MiB",
                ),
            };
            (limit < least).then(|| {
                Finding::warning(
                    format!("the slot may keep {} of log", ByteSize(limit)),
                    format!(
                        "{why}: the smallest sensible budget is {}; better is (log per hour) × (the longest \
                         absence that you accept)",
                        ByteSize(least)
                    ),
                )
            })
        }
    }
}

fn room(setting: &str, noun: &str, limit: i32, used: i32, ours_included: bool) -> Finding {
    if ours_included || used < limit {
        return Finding::ok(format!("{setting} is {limit}, {used} in use"));
    }
    Finding::failure(
        format!("all {limit} {noun} are in use"),
        format!("walhook needs one; {setting} takes effect after a restart of the server"),
    )
    .mend(format!(
        "alter system set {setting} = {};",
        limit.saturating_add(4)
    ))
}

pub(super) fn role_findings(role: &Role, server: &Server) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(if role.may_replicate() {
        Finding::ok(format!(
            "the role `{}` may read the WAL of `{}`",
            role.name, server.database
        ))
    } else {
        Finding::failure(
            format!("the role `{}` has no right to REPLICATION", role.name),
            "the WAL is served to such roles only (on Amazon RDS: to members of rds_replication)",
        )
        .mend(rights::replicate(&role.name, role.on_rds))
    });
    if role.superuser {
        findings.push(Finding::warning(
            format!("walhook reads the WAL as the superuser `{}`", role.name),
            "it needs no more than LOGIN and REPLICATION: `walhook setup --print-sql` says how to make such a role",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::byte_size::ByteSize;

    fn good() -> Server {
        Server {
            version_number: 150_018,
            version: "15.18".to_owned(),
            encoding: "UTF8".to_owned(),
            database: "app".to_owned(),
            in_recovery: false,
            wal_level: "logical".to_owned(),
            max_slots: 10,
            slots: 3,
            max_senders: 10,
            senders: 3,
            keep_size_mb: 65_536,
            idle_slot_timeout: None,
            synchronous_standbys: false,
        }
    }

    fn worst(server: &Server) -> Vec<Finding> {
        let mut findings = server_findings(server, false, false, true);
        findings.retain(|finding| finding.level != Level::Ok);
        findings
    }

    #[test]
    fn a_good_server_has_nothing_against_it() {
        assert_eq!(worst(&good()), []);
    }

    #[test]
    fn each_setting_that_stands_against_it_is_named() {
        type Spoil = fn(&mut Server);
        let cases: [(&str, Level, Spoil); 7] = [
            ("PostgreSQL 13", Level::Failure, |s| {
                s.version_number = 130_002;
                s.version = "13.2".to_owned();
            }),
            ("wal_level", Level::Failure, |s| {
                s.wal_level = "replica".to_owned()
            }),
            ("slots are in use", Level::Failure, |s| s.slots = 10),
            ("walsenders are in use", Level::Failure, |s| s.senders = 10),
            ("keep_size", Level::Warning, |s| s.keep_size_mb = -1),
            ("idle_replication_slot", Level::Warning, |s| {
                s.idle_slot_timeout = Some(60)
            }),
            ("synchronously", Level::Warning, |s| {
                s.synchronous_standbys = true
            }),
        ];
        for (named, level, spoil) in cases {
            let mut server = good();
            spoil(&mut server);
            let findings = worst(&server);
            assert_eq!(findings.len(), 1, "{named}: {findings:?}");
            assert_eq!(findings[0].level, level, "{named}");
            assert!(findings[0].what.contains(named), "{}", findings[0].what);
        }
    }

    #[test]
    fn a_budget_that_never_applies_is_named() {
        let config = |limit: Option<u64>, wal_policy| SourceConfig {
            wal_limit: limit.map(|mb| ByteSize(mb << 20)),
            wal_policy,
            ..SourceConfig::default()
        };
        let mut server = good();
        let found =
            |config, server: &Server| budget_finding(&config, server, true).map(|one| one.what);
        assert_eq!(found(config(None, WalPolicy::Shed), &server), None);
        assert_eq!(found(config(Some(1024), WalPolicy::Hold), &server), None);
        let small = found(config(Some(100), WalPolicy::Hold), &server).unwrap();
        assert!(small.contains("may keep 100MB of log"), "{small}");
        let elsewhere = config(Some(300), WalPolicy::Hold);
        assert!(budget_finding(&elsewhere, &server, false).is_none());
        let beyond = found(config(Some(70_000), WalPolicy::Hold), &server).unwrap();
        assert!(beyond.contains("beyond max_slot_wal_keep_size"));
        server.keep_size_mb = -1;
        assert_eq!(found(config(Some(2000), WalPolicy::Shed), &server), None);
        let never = found(config(None, WalPolicy::Shed), &server).unwrap();
        assert!(never.contains("no limit to shed at"));
    }

    #[test]
    fn our_own_slot_needs_no_more_room() {
        let mut server = good();
        server.slots = 10;
        server.senders = 10;
        let findings = server_findings(&server, true, true, false);
        assert!(findings.iter().all(|finding| finding.level == Level::Ok));
    }
}
