//! Keys that name files, and values that stand in files.

use std::collections::BTreeSet;
use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::*;

/// Every key of the sections and of `[api.jwt]`, as the types know them: `source.url`.
fn keys() -> Vec<String> {
    let tables = SECTIONS.iter().map(|section| (*section, ""));
    let tables = tables.chain([("api.jwt", "algorithm = 'HS256'")]);
    let of_table = |(table, needed): (&str, &str)| {
        let text = format!("[{table}]\n{needed}\nnot_a_key = 1\n");
        let problems = load(&[("walhook.toml", &text)], &[]).unwrap_err();
        let (_, known) = problems[0].split_once("expected one of ").unwrap();
        let known = known.split("; ").next().unwrap().split(", ");
        known
            .map(|key| format!("{table}.{}", key.trim_matches('`')))
            .collect::<Vec<_>>()
    };
    tables.flat_map(of_table).collect()
}

/// A file that sets one key. `api.jwt` cannot be without an algorithm.
fn setting(key: &str, value: &str) -> String {
    let (table, name) = key.rsplit_once('.').unwrap();
    let needed = match table {
        "api.jwt" if name != "algorithm" => "algorithm = 'HS256'",
        _ => "",
    };
    format!("[{table}]\n{needed}\n{name} = {value}\n")
}

/// The keys whose type shows nothing of itself, wherever they stand in the configuration.
fn redacted_keys() -> BTreeSet<String> {
    let jwt = "[api.jwt]\nalgorithm = 'HS256'\nkey_file = 'k'\n";
    let config = load(&[("walhook.toml", jwt)], &[]).unwrap();
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut found = BTreeSet::new();
    for line in format!("{config:#?}").lines() {
        let indent = line.len() - line.trim_start().len();
        path.retain(|(outer, _)| *outer < indent);
        if let Some((name, value)) = line.trim().split_once(": ") {
            path.push((indent, name.to_owned()));
            if value.contains("REDACTED") {
                let names: Vec<&str> = path.iter().map(|(_, name)| name.as_str()).collect();
                found.insert(names.join("."));
            }
        }
    }
    found
}

#[test]
fn every_secret_may_stand_in_a_file() {
    let redacted = redacted_keys();
    assert!(redacted.contains("source.url"), "{redacted:?}");
    // What is called like a secret is one, whatever its type.
    let words = ["url", "password", "secret", "token", "dsn", "passphrase"];
    let named = keys().into_iter().filter(|key| {
        let (_, name) = key.rsplit_once('.').unwrap();
        name.split('_')
            .next_back()
            .is_some_and(|word| words.contains(&word))
            // Everybody may know this one, as its name says.
            && name != "public_url"
    });
    let secrets: BTreeSet<String> = redacted.into_iter().chain(named).collect();
    for key in secrets {
        let text = setting(&format!("{key}_file"), "'value'");
        let files = [("walhook.toml", &*text), ("value", "hunter2\n")];
        let config = load(&files, &[]).unwrap_or_else(|problems| panic!("{key}: {problems:?}"));
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2"), "{key}: {shown}");
        let by_variable = format!("WALHOOK_{}_FILE", key.replace('.', "__").to_uppercase());
        let problems = load(&[], &[(&by_variable, "/nowhere/value")]).unwrap_err();
        assert_eq!(
            problems,
            [format!(
                "environment variable {by_variable}: {key}_file: cannot read `/nowhere/value`: No such file or directory (os error 2)"
            )]
        );
    }
}

/// A path under another name would not be resolved.
#[test]
fn every_path_is_called_a_file_and_is_relative_to_the_file_that_names_it() {
    let is_path = |key: &String| {
        let problems = load(&[("walhook.toml", &setting(key, "true"))], &[]);
        problems.is_err_and(|problems| problems[0].contains("expected path string"))
    };
    let paths: Vec<String> = keys().into_iter().filter(is_path).collect();
    let expected = [
        "security.encryption_key_file",
        "api.jwt.key_file",
        "api.jwt.jwks_file",
    ];
    for key in expected {
        assert!(paths.contains(&key.to_owned()), "{key}: {paths:?}");
    }
    for key in paths {
        assert!(key.ends_with("_file"), "{key}");
        let text = setting(&key, "'some/file'");
        let files = [
            ("walhook.toml", "include = ['sub/a.toml']"),
            ("sub/a.toml", &*text),
        ];
        let config = format!("{:?}", load(&files, &[]).unwrap());
        assert!(config.contains("/sub/some/file\""), "{key}: {config}");
        let main = format!("{:?}", load(&[("walhook.toml", &text)], &[]).unwrap());
        assert!(
            main.contains("/some/file\"") && !main.contains("/sub/"),
            "{key}"
        );
    }
}

#[test]
fn a_default_path_is_beside_the_main_file_and_a_variables_is_in_the_working_directory() {
    let here = |name: &str| env::current_dir().unwrap().join(name);
    let key = |config: Config| config.security.encryption_key_file;
    assert_eq!(key(load(&[], &[]).unwrap()), here("walhook.key"));
    let variable = [("WALHOOK_SECURITY__ENCRYPTION_KEY_FILE", "keys/a")];
    let files = [
        ("walhook.toml", "include = ['sub/a.toml']"),
        ("sub/a.toml", ""),
    ];
    assert_eq!(key(load(&files, &variable).unwrap()), here("keys/a"));

    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &files);
    let main = directory.path().join("walhook.toml");
    let config = Config::load_with(Some(&main), std::iter::empty()).unwrap();
    assert_eq!(key(config), directory.path().join("walhook.key"));
    let absolute = setting("security.encryption_key_file", "'/etc/walhook.key'");
    let config = load(&[("walhook.toml", &absolute)], &[]).unwrap();
    assert_eq!(key(config), PathBuf::from("/etc/walhook.key"));
}

#[test]
fn a_value_from_a_file_is_that_of_the_key_without_the_last_line_break() {
    for (content, value) in [
        ("postgres://u:p@h/d", "postgres://u:p@h/d"),
        ("postgres://u:p@h/d\n", "postgres://u:p@h/d"),
        ("postgres://u:p@h/d\r\n", "postgres://u:p@h/d"),
        (" host=h\nuser=u\n\n", " host=h\nuser=u\n"),
    ] {
        let files = [
            // The shipped file has both keys, and the one that is empty is none.
            (
                "walhook.toml",
                "include = ['sub/a.toml']\n[source]\nurl = ''\nurl_file = 'absent'\n",
            ),
            (
                "sub/a.toml",
                "[source]\nurl_file = 'secrets/url'\n[store]\nurl_file = ''\n",
            ),
            ("sub/secrets/url", content),
        ];
        let config = load(&files, &[]).unwrap();
        assert_eq!(config.source.url.expose_secret(), value);
        assert_eq!(config.store.url.expose_secret(), "");
    }
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &[("url", "postgres://u@h/d\n")]);
    let file = directory.path().join("url");
    let variable = ("WALHOOK_STORE__URL_FILE", file.to_str().unwrap());
    let config = load(
        &[("walhook.toml", "[store]\nurl_file = 'absent'\n")],
        &[variable],
    );
    let config = config.unwrap();
    assert_eq!(config.store.url.expose_secret(), "postgres://u@h/d");
}

#[test]
fn a_key_that_is_given_twice_is_refused_with_both_places() {
    let both = "[source]\nurl = 'postgres://u:hunter2@h'\nurl_file = 'url'\n";
    let one = "include = ['a.toml']\n[source]\nprimary_url_file = 'url'\n";
    let other = "[source]\nprimary_url = 'postgres://u:hunter2@h'\n";
    let file = "[store]\nurl_file = 'url'\n";
    let value = ("WALHOOK_STORE__URL", "postgres://u:hunter2@h");
    for (files, variables, expected) in [
        (
            vec![("walhook.toml", both)],
            vec![],
            "walhook.toml:3: source.url_file: names a file for `source.url`, which is set too (walhook.toml:2): take one of them out",
        ),
        (
            vec![("walhook.toml", one), ("a.toml", other)],
            vec![],
            "walhook.toml:3: source.primary_url_file: names a file for `source.primary_url`, which is set too (a.toml:2): take one of them out",
        ),
        (
            vec![("walhook.toml", file)],
            vec![value],
            "walhook.toml:2: store.url_file: names a file for `store.url`, which is set too (environment variable WALHOOK_STORE__URL): take one of them out",
        ),
    ] {
        assert_eq!(load(&files, &variables).unwrap_err(), [expected]);
    }
    // An empty variable takes the file's place away.
    let without = [value, ("WALHOOK_STORE__URL_FILE", "")];
    let config = load(&[("walhook.toml", file)], &without).unwrap();
    assert_eq!(config.store.url.expose_secret(), value.1);
}

#[test]
fn a_file_that_holds_no_value_is_named_with_its_key_and_place() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("empty"), "\n").unwrap();
    fs::write(at("latin"), b"postgres://u:hunter2\xe9@h").unwrap();
    fs::write(at("large"), "hunter2 ".repeat(8193)).unwrap();
    let largest = "x".repeat(64 * 1024);
    fs::write(at("largest"), &largest).unwrap();
    for (name, said) in [
        (
            "absent",
            "cannot read `PATH`: No such file or directory (os error 2)",
        ),
        ("folder", "`PATH` is not a plain file"),
        ("empty", "`PATH` is empty"),
        (
            "latin",
            "`PATH` is not UTF-8: invalid utf-8 sequence of 1 bytes from index 20",
        ),
        ("large", "`PATH` is larger than 64 KiB: is it another file?"),
        // A device has no end, and a pipe may never begin.
        ("/dev/zero", "`PATH` is not a plain file"),
    ] {
        let path = at(name).display().to_string();
        let text = setting("store.url_file", &format!("'{path}'"));
        let problems = load(&[("walhook.toml", &text)], &[]).unwrap_err();
        let said = said.replace("PATH", &path);
        assert_eq!(
            problems,
            [format!("walhook.toml:3: store.url_file: {said}")]
        );
    }
    let text = setting("store.url_file", &format!("'{}'", at("largest").display()));
    let config = load(&[("walhook.toml", &text)], &[]).unwrap();
    assert_eq!(config.store.url.expose_secret(), largest);
    let problems = load(&[("walhook.toml", "[store]\nurl_file = 5\n")], &[]).unwrap_err();
    let expected = "walhook.toml:2: store.url_file: expected the path of a file, in quotes";
    assert_eq!(problems, [expected]);
}

#[test]
fn a_file_whose_content_changed_is_a_changed_setting() {
    let directory = tempfile::tempdir().unwrap();
    let main = "[source]\nurl_file = 'url'\n[api.jwt]\nalgorithm = 'HS256'\nkey_file = 'jwt'\n";
    let files = [
        ("walhook.toml", main),
        ("url", "a\n"),
        ("jwt", "k"),
        ("walhook.key", "e"),
    ];
    write(directory.path(), &files);
    let file = directory.path().join("walhook.toml");
    let read = || Config::load_with(Some(&file), std::iter::empty()).unwrap();
    let running = read();
    let differing = |change: (&str, &str)| {
        write(directory.path(), &[change]);
        let differing = running.differing_settings(&read());
        write(directory.path(), &files);
        differing
    };
    // The same value, whatever the file's end or name.
    assert_eq!(differing(("url", "a")), [""; 0]);
    write(directory.path(), &[("other", "a\n")]);
    let renamed = main.replace("'url'", "'other'");
    assert_eq!(differing(("walhook.toml", &renamed)), [""; 0]);
    let inline = main.replace("url_file = 'url'", "url = 'a'");
    assert_eq!(differing(("walhook.toml", &inline)), [""; 0]);

    assert_eq!(differing(("url", "b\n")), ["source.url"]);
    assert_eq!(differing(("jwt", "l")), ["api.jwt.key_file (its content)"]);
    let key = ["security.encryption_key_file (its content)"];
    assert_eq!(differing(("walhook.key", "f")), key);
}

#[test]
fn files_of_secrets_that_others_may_read_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let main = "[source]\nurl_file = 'url'\n[store]\nurl_file = 'store'\n[api.jwt]\nalgorithm = 'HS256'\nkey_file = 'jwt'\n";
    let files = [("url", "a"), ("store", "b"), ("jwt", "c")];
    write(directory.path(), &files);
    let exposed = |main: &str, mode| {
        write(directory.path(), &[("walhook.toml", main)]);
        for name in ["url", "jwt"] {
            let open = fs::Permissions::from_mode(mode);
            fs::set_permissions(directory.path().join(name), open).unwrap();
        }
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(directory.path().join("store"), private).unwrap();
        let file = directory.path().join("walhook.toml");
        let config = Config::load_with(Some(&file), std::iter::empty()).unwrap();
        let exposed = config.exposed_secret_files().into_iter();
        exposed.map(|(file, _)| file.key).collect::<Vec<_>>()
    };
    assert_eq!(
        exposed(main, 0o644),
        ["source.url_file", "api.jwt.key_file"]
    );
    assert_eq!(
        exposed(main, 0o604),
        ["source.url_file", "api.jwt.key_file"]
    );
    assert_eq!(exposed(main, 0o400), [""; 0]);
    // A public key is no secret.
    let public = main.replace("HS256", "ES256");
    assert_eq!(exposed(&public, 0o644), ["source.url_file"]);
}
