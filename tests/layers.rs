//! Which room may import which, and the one home of each outside crate. Reads the sources as
//! text: the compiler has no such rule.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Everyone may import these; they import nothing of ours but each other.
const LEAVES: [&str; 14] = [
    "lsn",
    "duration",
    "byte_size",
    "secret",
    "backoff",
    "episode",
    "log_limit",
    "health",
    "clock",
    "metrics",
    "conninfo",
    "terminal",
    "docs",
    "telemetry",
];

/// What each module may import besides itself and the leaves.
fn allowed(module: &str) -> Option<&'static [&'static str]> {
    Some(match module {
        leaf if LEAVES.contains(&leaf) => &[],
        "event" | "pgoutput" | "db" | "audit" => &[],
        "replication" => &["pgoutput"],
        "mapping" => &["pgoutput", "event"],
        "subscription" => &["db", "event"],
        "tenant" => &["audit"],
        "delivery" => &["subscription", "db", "event", "audit"],
        "handoff" => &[
            "mapping",
            "subscription",
            "delivery",
            "tenant",
            "db",
            "event",
        ],
        "capture" => &[
            "handoff",
            "mapping",
            "pgoutput",
            "subscription",
            "delivery",
            "tenant",
            "db",
            "event",
        ],
        "backfill" => &[
            "replication",
            "mapping",
            "capture",
            "db",
            "pgoutput",
            "event",
        ],
        // The tables are described for rules and for backfills.
        "source" => &[
            "replication",
            "mapping",
            "backfill",
            "db",
            "pgoutput",
            "event",
        ],
        "api" => &[
            "subscription",
            "delivery",
            "tenant",
            "db",
            "event",
            "audit",
            "mapping",
        ],
        // Pages show what the calls answer, and share their State, limits and refusals.
        "console" => &[
            "api",
            "subscription",
            "delivery",
            "tenant",
            "db",
            "event",
            "audit",
            "mapping",
        ],
        // Puts together the sections that the modules own, and checks the rules.
        "config" => &["replication", "db", "delivery", "api", "mapping"],
        "preflight" => &[
            "config",
            "subscription",
            "source",
            "replication",
            "mapping",
            "delivery",
            "db",
            "event",
        ],
        "setup" => &[
            "preflight",
            "config",
            "source",
            "replication",
            "mapping",
            "delivery",
            "db",
            "event",
            "audit",
        ],
        "app" => &[
            "preflight",
            "config",
            "source",
            "replication",
            "pgoutput",
            "mapping",
            "capture",
            "handoff",
            "backfill",
            "subscription",
            "delivery",
            "api",
            "console",
            "db",
            "event",
        ],
        "demo" => &[
            "app", "setup", "api", "console", "source", "config", "delivery", "db", "event",
            "audit",
        ],
        // These stand on everything.
        "cli" | "main" | "lib" => return None,
        other => panic!("src/{other} has no import rule: state one here"),
    })
}

/// Where an outside crate may be named: paths below `src/`.
const HOMES: [(&str, &[&str]); 10] = [
    ("pulldown_cmark", &["docs"]),
    ("reqwest", &["delivery/client"]),
    ("hickory_proto", &["delivery/client"]),
    ("axum", &["api", "console", "demo/receiver"]),
    ("askama", &["console"]),
    ("prometheus", &["metrics"]),
    ("figment", &["config"]),
    ("hmac", &["delivery/signature", "delivery/verification"]),
    ("ed25519_dalek", &["secret/signing_key"]),
    ("postgres_protocol", &["replication"]),
];

#[test]
fn modules_import_only_what_stands_below_them() {
    let mut faults = Vec::new();
    for file in sources() {
        let module = file.module();
        let Some(allowed) = allowed(&module) else {
            continue;
        };
        for imported in file.imports() {
            let fine = imported == module
                || LEAVES.contains(&imported.as_str())
                || allowed.contains(&imported.as_str())
                // Items of lib.rs itself: it has none but modules.
                || imported == "self";
            if !fine {
                faults.push(format!("src/{} imports {imported}", file.path.display()));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "against the rules above:\n{}",
        faults.join("\n")
    );
}

/// Also among the leaves, and the rooms that may import everything.
#[test]
fn no_room_imports_one_that_stands_on_it() {
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in sources() {
        let module = file.module();
        let mut imported = file.imports();
        imported.remove(&module);
        imports.entry(module).or_default().extend(imported);
    }
    // What imports nothing that is left can be in no circle.
    loop {
        let left: Vec<String> = imports.keys().cloned().collect();
        imports.retain(|_, imported| left.iter().any(|room| imported.contains(room)));
        if imports.len() == left.len() {
            break;
        }
    }
    assert!(imports.is_empty(), "a circle among {imports:#?}");
}

#[test]
fn each_outside_crate_has_one_home() {
    let mut faults = Vec::new();
    for file in sources() {
        for (name, homes) in HOMES {
            let at_home = homes.iter().any(|home| file.is_in(home));
            if !at_home && file.names_crate(name) {
                faults.push(format!("src/{} uses {name}", file.path.display()));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "outside their homes:\n{}",
        faults.join("\n")
    );
}

#[test]
fn the_map_names_all_rooms_and_tables_and_only_files_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = fs::read_to_string(root.join("src/ARCHITECTURE.md")).unwrap();
    let named: BTreeSet<&str> = map.split('`').skip(1).step_by(2).collect();
    for name in &named {
        let is_path = name.ends_with('/') || name.ends_with(".rs") || name.ends_with(".toml");
        let exists = ["src", "tests", "."]
            .iter()
            .any(|below| root.join(below).join(name).exists());
        assert!(
            !is_path || exists,
            "the map names `{name}`, which is not there"
        );
    }
    let rooms: BTreeSet<String> = sources().iter().map(Source::module).collect();
    let is_named = |name: &str| named.contains(name);
    for room in rooms {
        let is_a_thing_of_its_own = !["lib", "main", "event"].contains(&room.as_str());
        assert!(
            !is_a_thing_of_its_own || is_named(&room),
            "the map lacks the room {room}"
        );
    }
    let schema = fs::read_to_string(root.join("sql/schema/0001.sql")).unwrap();
    let tables = schema
        .lines()
        .filter_map(|line| line.strip_prefix("create table "));
    for table in tables.map(|rest| rest.split([' ', '(']).next().unwrap()) {
        assert!(is_named(table), "the map lacks the table {table}");
    }
}

/// What others can put into a line must not forge another, nor steer the terminal.
#[test]
fn all_that_is_printed_goes_through_the_terminal_module() {
    let printing = ["println!(", "eprintln!(", " print!(", " eprint!("];
    for file in sources() {
        for macro_call in printing {
            let calls = file.code.contains(macro_call);
            assert!(!calls, "src/{}: {macro_call}", file.path.display());
        }
    }
}

/// Statements that rooms besides their owner use, as neither may import the other.
const SHARED: [(&str, &[&str]); 2] = [
    // A gap is recorded with what was found of it, in one transaction.
    ("db/record_table_gap.sql", &["capture", "source"]),
    // Where the WAL ends: asked by those who create slots and by those who create subscriptions.
    ("replication/current_wal_insert_lsn.sql", &["api"]),
];

/// Loaded with its folder by compose.yaml.
const LOADED: &str = "demo/02_more_tables.sql";

#[test]
fn each_statement_is_used_in_the_room_whose_folder_it_stands_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
    let mut unused: BTreeSet<String> = files_below(&root, "sql")
        .iter()
        .map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().into())
        .collect();
    assert!(unused.len() > 200, "the statements were not found");
    unused.remove(LOADED);
    let mut faults = Vec::new();
    for file in sources() {
        for used in file.statements() {
            unused.remove(&used);
            let Some(statement) = used.strip_prefix("queries/") else {
                continue;
            };
            let owner = Path::new(statement).parent().unwrap().to_str().unwrap();
            let shared = SHARED.iter().any(|(of, rooms)| {
                *of == statement && rooms.iter().any(|room| *room == file.module())
            });
            if !shared && !file.is_in(owner) {
                faults.push(format!("src/{} uses {statement}", file.path.display()));
            }
        }
    }
    faults.extend(unused.iter().map(|path| format!("nothing uses sql/{path}")));
    assert!(faults.is_empty(), "out of place:\n{}", faults.join("\n"));
}

#[test]
fn each_dependency_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let of_tests: Vec<Source> = ["src", "tests", "benches"]
        .iter()
        .flat_map(|directory| files_below(&root.join(directory), "rs"))
        .map(|path| Source {
            code: fs::read_to_string(&path).unwrap(),
            path,
        })
        .collect();
    let mut unused = Vec::new();
    for (section, files) in [("dependencies", sources()), ("dev-dependencies", of_tests)] {
        let names = manifest[section].as_table().unwrap().keys();
        unused.extend(
            names
                .filter(|name| {
                    let name = name.replace('-', "_");
                    !files.iter().any(|file| file.names_crate(&name))
                })
                .map(|name| format!("{name} of [{section}]")),
        );
    }
    assert!(unused.is_empty(), "used by nothing: {}", unused.join(", "));
}

/// A source file of the library, without comments and tests.
struct Source {
    /// Below `src/`.
    path: PathBuf,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = files_below(&root, "rs");
    assert!(files.len() > 30, "the sources were not found");
    files
        .into_iter()
        .map(|path| Source {
            code: code_of(&fs::read_to_string(&path).unwrap()),
            path: path.strip_prefix(&root).unwrap().to_owned(),
        })
        // Tests may reach where the code that they test may not. (Of the path below `src/`:
        // the checkout itself may stand in a folder of that name.)
        .filter(|file| !file.is_of_tests())
        .collect()
}

fn files_below(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|of| of == extension) {
            files.push(path);
        }
    }
    files
}

/// The code without line comments, up to the module of tests, which stands last.
fn code_of(text: &str) -> String {
    let tests = text
        .find("\n#[cfg(test)]\nmod tests {")
        .unwrap_or(text.len());
    let lines = text[..tests].lines();
    lines
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |code, line| code + line + "\n")
}

impl Source {
    fn is_of_tests(&self) -> bool {
        let mut parts = self.path.components();
        parts.any(|part| {
            ["tests", "tests.rs"]
                .iter()
                .any(|name| part.as_os_str() == *name)
        })
    }

    /// The first part of the path: `delivery` of `delivery/client.rs`.
    fn module(&self) -> String {
        let first = self.path.components().next().unwrap();
        let first = first.as_os_str().to_str().unwrap();
        first.trim_end_matches(".rs").to_owned()
    }

    /// How many `super` lead from here to the crate's root.
    fn depth(&self) -> usize {
        let parts = self.path.components().count();
        match self.path.file_name().unwrap().to_str().unwrap() {
            "mod.rs" => parts - 1,
            _ => parts,
        }
    }

    fn is_in(&self, home: &str) -> bool {
        let path = self.path.with_extension("");
        path.starts_with(home)
    }

    /// The files below `sql/` that it includes.
    fn statements(&self) -> Vec<String> {
        let included = self.code.split("../sql/").skip(1);
        let path = |rest: &str| rest.split('"').next().unwrap_or_default().to_owned();
        included.map(path).collect()
    }

    /// The top-level modules that are named after `crate::`, or after as many
    /// `super::` as lead to the root.
    fn imports(&self) -> BTreeSet<String> {
        let up = "super::".repeat(self.depth());
        let mut found = BTreeSet::new();
        for root in ["crate::", &up] {
            for (at, _) in self.code.match_indices(root) {
                let before = self.code[..at].chars().next_back();
                let part_of_a_name =
                    before.is_some_and(|c| c.is_alphanumeric() || "_:$".contains(c));
                if !part_of_a_name {
                    found.extend(heads(&self.code[at + root.len()..]));
                }
            }
        }
        found
    }

    fn names_crate(&self, name: &str) -> bool {
        let path = format!("{name}::");
        let used = self.code.match_indices(&path).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "_:".contains(c))
                || self.code[..at].ends_with("use ::")
        });
        used || self.code.contains(&format!("use {name};"))
    }
}

/// The first names of a path or of a group: `a` of `a::b`; `a` and `c` of `{a::{x, y}, c}`.
fn heads(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        let text = text.trim_start();
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![name(path)];
    };
    let mut depth = 0_usize;
    let mut heads = vec![name(group)];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(name(&group[at + 1..])),
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

#[test]
fn imports_are_read_in_all_their_forms() {
    let source = |path: &str, text: &str| Source {
        path: PathBuf::from(path),
        code: code_of(text),
    };
    let text = "
        use crate::lsn::Lsn;
        use crate::{db::{Store, StoreConfig}, event,
            api::auth};
        // use crate::comment;
        fn f() -> crate::secret::Key { other_crate::nothing() }
        use super::super::mapping::Rule;
        use super::sibling;
        use ::hmac::Hmac;
        fn g() { reqwest::get(); not_axum::x(); }
\n#[cfg(test)]\nmod tests {\n use crate::app; }";
    let file = source("delivery/client.rs", text);
    let expected = ["api", "db", "event", "lsn", "mapping", "secret"];
    assert_eq!(file.imports().into_iter().collect::<Vec<_>>(), expected);
    assert!(file.names_crate("hmac") && file.names_crate("reqwest") && !file.names_crate("axum"));
    assert!(file.is_in("delivery/client") && !file.is_in("delivery/client_pool"));
    assert_eq!(
        source("delivery/client/resolver.rs", "").module(),
        "delivery"
    );
    assert!(source("delivery/client/resolver.rs", "").is_in("delivery/client"));
    // In `delivery/mod.rs` one `super` leads to the root.
    let top = source("delivery/mod.rs", "use super::mapping::Rule;");
    assert_eq!(top.imports().into_iter().collect::<Vec<_>>(), ["mapping"]);
}
