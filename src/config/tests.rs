//! Layers, and what bad input is told.

use std::fs;
use std::path::Path;

use super::*;

mod files;

fn write(directory: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn load(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), files);
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let path = directory.path().join("walhook.toml");
    Config::load_with((!files.is_empty()).then_some(&path), variables).map_err(|error| {
        let prefix = format!("{}/", directory.path().display());
        let lines = error
            .problems
            .iter()
            .map(|problem| problem.to_string().replace(&prefix, ""));
        lines.collect()
    })
}

#[test]
fn the_shipped_file_is_the_default_without_its_events() {
    let config = load(&[], &[]).unwrap();
    assert_eq!(config.source.slot, "walhook");
    assert_eq!(config.delivery.concurrency, 512);
    assert!(config.include.is_empty() && config.events.is_empty());
    // The owners' own defaults, which tests and the demo use, are the same.
    let own = DeliveryConfig::default();
    assert_eq!(format!("{own:?}"), format!("{:?}", config.delivery));
    let own = StoreConfig::default();
    assert_eq!(format!("{own:?}"), format!("{:?}", config.store));
    let own = SourceConfig::default();
    assert_eq!(format!("{own:?}"), format!("{:?}", config.source));
    let own = SecurityConfig::default();
    let key = std::env::current_dir()
        .unwrap()
        .join(&own.encryption_key_file);
    assert_eq!(
        config.security,
        SecurityConfig {
            encryption_key_file: key,
            ..own
        }
    );
    let own = ApiConfig::default();
    assert_eq!(format!("{own:?}"), format!("{:?}", config.api));
    assert_eq!(config.limits, LimitsConfig::default());
    assert_eq!(config.defaults, DefaultsConfig::default());
}

#[test]
fn the_shipped_file_documents_every_key() {
    for section in SECTIONS {
        let text = format!("[{section}]\nnot_a_key = 1\n");
        let problems = load(&[("walhook.toml", &text)], &[]).unwrap_err();
        let (_, known) = problems[0].split_once("expected one of ").unwrap();
        for key in known.split("; ").next().unwrap().split(", ") {
            let set = DEFAULTS.contains(&format!("\n{key} = "));
            let shown = DEFAULTS.contains(&format!("\n# [{section}.{key}]"));
            assert!(set || shown, "config/walhook.toml lacks {section}.{key}");
        }
    }
}

#[test]
fn the_shipped_files_load() {
    let config = Config::load_with(
        Some(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/walhook.toml")),
        std::iter::empty(),
    )
    .unwrap();
    assert_eq!(config.include.len(), 3);
    let types: Vec<_> = config
        .rules()
        .unwrap()
        .event_types()
        .map(|one| one.to_string())
        .collect();
    assert_eq!(
        types,
        [
            "payment.received",
            "payment.failed",
            "customer.created",
            "customer.updated",
            "sales_order.created",
            "sales_order.confirmed",
            "sales_order.cancelled",
        ]
    );
}

#[test]
fn each_layer_wins_over_the_one_before() {
    let config = load(
        &[
            ("walhook.toml", "include = ['sub/more.toml']\n[source]\nslot = 'a'\npublication = 'p'\n[delivery]\ntimeout = '1s'\n"),
            ("sub/more.toml", "include = ['deep.toml']\n[source]\nslot = 'b'\n"),
            ("sub/deep.toml", "[delivery]\ntimeout = '2s'\n[[events]]\ntype = 'a'\ntable = 't'\n"),
        ],
        &[
            ("WALHOOK_SOURCE__PUBLICATION", "12345"),
            ("WALHOOK_DELIVERY__CONCURRENCY", "7"),
            ("WALHOOK_DELIVERY__RETRY_SCHEDULE", "1s, 2s"),
            ("WALHOOK_DELIVERY__NAME_SERVERS", "10.0.0.2, [fd00::2]:5353"),
            ("WALHOOK_SECURITY__ALLOW_NETWORKS", "[\"10.0.0.0/8\"]"),
            ("WALHOOK_SECURITY__ALLOW_HTTP", "true"),
            ("WALHOOK_DEFAULTS__TENANT__VALUE", "42"),
            ("WALHOOK_SERVICE_HOST", "10.0.0.1"),
            ("WALHOOK_CONFIG", "x"),
            ("OTHER__KEY", "x"),
        ],
    )
    .unwrap();
    assert_eq!(config.source.slot, "b");
    assert_eq!(config.source.publication, "12345");
    assert_eq!(config.delivery.timeout.to_string(), "2s");
    assert_eq!(config.delivery.concurrency, 7);
    assert_eq!(config.delivery.retry_schedule.len(), 2);
    assert_eq!(config.delivery.name_servers.len(), 2);
    assert_eq!(config.security.allow_networks.len(), 1);
    assert!(config.security.allow_http);
    assert_eq!(
        format!("{:?}", config.defaults.tenant),
        "Value(TenantValue { value: \"42\" })"
    );
    assert_eq!(config.events.len(), 1);
}

/// What Kubernetes sets for the services walhook, walhook-api, walhook-store-url and
/// walhook-a--b, the last with a port called http--x.
#[test]
fn variables_that_kubernetes_injects_are_not_ours() {
    let services = ["", "API_", "STORE_URL_", "A__B_", "SOURCE__X_"];
    let links = [
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT", "8080"),
        ("SERVICE_PORT_HTTP__X", "8080"),
        ("PORT", "tcp://10.0.0.1:8080"),
        ("PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("PORT_8080_TCP_PROTO", "tcp"),
        ("PORT_8080_TCP_PORT", "8080"),
        ("PORT_8080_TCP_ADDR", "10.0.0.1"),
    ];
    let names = services
        .iter()
        .flat_map(|service| links.map(|(link, value)| (format!("WALHOOK_{service}{link}"), value)));
    let names: Vec<_> = names.collect();
    let variables: Vec<_> = names
        .iter()
        .map(|(name, value)| (&**name, *value))
        .collect();
    let config = load(&[], &variables).unwrap();
    assert_eq!(
        format!("{config:?}"),
        format!("{:?}", load(&[], &[]).unwrap())
    );
    // What only looks like them is still somebody's mistake.
    for mistaken in [
        "WALHOOK_API__PORT",
        "WALHOOK_SUPPORT__X",
        "WALHOOK_STORE_URL",
    ] {
        assert!(load(&[], &[(mistaken, "x")]).is_err(), "{mistaken}");
    }
}

#[test]
fn a_limit_with_which_nothing_would_be_sent_is_refused() {
    for key in ["concurrency", "endpoint_concurrency", "slow_concurrency"] {
        let text = format!("[delivery]\n{key} = 0\n");
        let problems = load(&[("walhook.toml", &text)], &[]).unwrap_err();
        assert_eq!(
            problems,
            [format!(
                "walhook.toml:2: delivery.{key}: is 0, with which nothing would be sent: use 1 or more"
            )]
        );
    }
}

#[test]
fn every_problem_says_where_what_and_the_nearest_name() {
    let problems = load(
        &[(
            "walhook.toml",
            "surce = 1\n[source]\nslto = 'a'\nurl = 5\n\n[delivery]\ntimeout = '15'\nretry_schedule = ['5s',\n 'soon']\nconcurency = 2\n[api]\nlisten = 5\n[defaults]\ntenant = 5\n",
        )],
        &[
            ("WALHOOK_SORCE__URL", "x"),
            ("WALHOOK_STORE_URL", "x"),
            ("WALHOOK_STORE__SHEMA", "x"),
            ("WALHOOK_SECURITY__ALLOW_HTTP", "perhaps"),
        ],
    )
    .unwrap_err();
    let expected = [
        "walhook.toml:1: surce: is unknown: expected one of source, store, delivery, security, api, limits, defaults, include, events; did you mean `source`?",
        "environment variable WALHOOK_SORCE__URL: `sorce` is not a section: expected one of source, store, delivery, security, api, limits, defaults; did you mean `source`?",
        "environment variable WALHOOK_STORE_URL: sets nothing: a section and its key are joined by two underscores; did you mean `WALHOOK_STORE__URL`?",
        "walhook.toml:3: source.slto: is unknown: expected one of url, primary_url, slot, publication, receive_timeout, buffer_bytes, on_gap, wal_limit, wal_policy, max_row, heartbeat, url_file, primary_url_file; did you mean `slot`?",
        "environment variable WALHOOK_STORE__SHEMA: store.shema: is unknown: expected one of url, schema, tenant_role, retention, audit_retention, connections, url_file; did you mean `schema`?",
        "walhook.toml:10: delivery.concurency: is unknown: expected one of concurrency, endpoint_concurrency, slow_concurrency, timeout, name_servers, retry_schedule, max_body, disable_after, keep_answer; did you mean `concurrency`?",
        "environment variable WALHOOK_SECURITY__ALLOW_HTTP: security.allow_http: expected true or false, found a text",
        "walhook.toml:12: api.listen: expected a text, found a whole number",
        "walhook.toml:14: defaults.tenant: expected an expression such as a column, or { value = \"…\" } for one tenant",
    ];
    assert_eq!(problems, expected);

    let problems = load(
        &[(
            "walhook.toml",
            "[delivery]\nname_servers = ['10.0.0.2',\n 'dns.example']\n",
        )],
        &[],
    )
    .unwrap_err();
    assert_eq!(
        problems,
        [
            "walhook.toml:3: delivery.name_servers[1]: `dns.example` is not the address of a name server: use one such as `10.0.0.2`, `10.0.0.2:5353` or `[fd00::2]:5353`"
        ]
    );

    let problems = load(
        &[(
            "walhook.toml",
            "[delivery]\nretry_schedule = ['5s',\n 'soon']\n[source]\nurl = 5\n",
        )],
        &[],
    )
    .unwrap_err();
    assert_eq!(
        problems,
        [
            "walhook.toml:5: source.url: expected a text, found a whole number",
            "walhook.toml:3: delivery.retry_schedule[1]: `soon` is not a duration: expected a whole number and a unit (ms, s, m, h or d), as in `15s`",
        ]
    );
}

#[test]
fn a_number_that_does_not_fit_is_named() {
    let refused = |lines: &str| {
        let text = format!("[source]\nurl = 'postgres://x/y'\n[limits]\n{lines}\n");
        load(&[("walhook.toml", &text)], &[]).unwrap_err()
    };
    for found in ["0", "-1", "1.5"] {
        let problem = format!(
            "walhook.toml:4: limits.tokens: expected a whole number, 1 or more, found {found}"
        );
        assert_eq!(refused(&format!("tokens = {found}")), [problem]);
    }
    assert_eq!(
        refused("tokens = 'many'"),
        ["walhook.toml:4: limits.tokens: expected a whole number, 1 or more, found a text"]
    );
}

#[test]
fn rules_are_refused_with_their_lines() {
    let problems = load(
        &[
            ("walhook.toml", "include = ['a.toml', 'b.toml', 'missing.toml',\n 'a.toml']\n"),
            ("a.toml", "[[events]]\nname = 'n'\ntype = 'a'\ntable = 't'\n\n[[events]]\ntype = 'a'\ntabel = 't'\n"),
            (
                "b.toml",
                "[[events]]\ntype = 'b'\n\n[[events]]\ntype = 'b'\ntable = 't'\nwhen = 'became('\n[events.data]\nx = 5\n\
                 [[events]]\nname = 'n'\ntype = 'b'\ntable = 't'\n[events.data]\nx = '1 +'\n",
            ),
        ],
        &[],
    )
    .unwrap_err();
    let starts = [
        "a.toml:8: events[1].tabel: is unknown: expected one of name, type, table, description, key, on, when, tenant, old_values, data, examples; did you mean `table`?",
        "b.toml:1: events[0]: missing field `table`",
        "b.toml:9: events[1]: invalid type: integer `5`, expected an expression in quotes",
        "walhook.toml:1: include: cannot read missing.toml: No such file",
        "walhook.toml:2: include: a.toml is included twice",
        "b.toml:15: events[2].data.x: rule `n`: column 4: expected a value after `+`, met the end",
        "b.toml:11: events[2].name: rule `n`: another rule has the same name; names are unique, as they enter the events' ids (the other rule is at a.toml:2)",
    ];
    assert_eq!(problems.len(), starts.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}\n{start}");
    }
}

#[test]
fn a_default_tenant_that_fits_no_rule_is_one_problem_at_its_own_place() {
    let rules = "[[events]]\ntype = 'a'\ntable = 't'\n[[events]]\ntype = 'b'\ntable = 't'\n\
        [[events]]\ntype = 'c'\ntable = 't'\ntenant = '2 +'\n";
    let refused = |file: &str, variables: &[(&str, &str)]| {
        load(&[("walhook.toml", file)], variables).unwrap_err()
    };
    let expected = "defaults.tenant: does not fit 2 rules that have no `tenant` of their own: \
        column 4: expected a value after `+`, met the end (rules `a@public.t`, `b@public.t`)";
    let own = "walhook.toml:10: events[2].tenant: rule `c@public.t`: column 4: ";
    let text = format!("{rules}[defaults]\ntenant = '1 +'\n");
    let problems = refused(&text, &[]);
    assert_eq!(problems[0], format!("walhook.toml:12: {expected}"));
    assert!(problems[1].starts_with(own), "{problems:#?}");
    let problems = refused(rules, &[("WALHOOK_DEFAULTS__TENANT", "1 +")]);
    let variable = "environment variable WALHOOK_DEFAULTS__TENANT";
    assert_eq!(problems[0], format!("{variable}: {expected}"));
    assert_eq!(problems.len(), 2, "{problems:#?}");
}

#[test]
fn an_expression_that_toml_cannot_read_gets_the_right_quotes() {
    for (text, hinted) in [
        ("[[events]]\nwhen = \"sku like '\\d%'\"\n", true),
        (
            "[[events]]\nwhen = \"\"\"\nsku = 'a'\nor sku like '\\d%'\"\"\"\n",
            true,
        ),
        ("[[events]]\ntenant = \"path like '\\w'\"\n", true),
        (
            "[[events]]\ntype = 'a'\n[events.data]\nslug = \"replace(a, '\\.', '')\"\n",
            true,
        ),
        (
            "[[events]]\ndata = { slug = \"replace(a, '\\.', '')\" }\n",
            true,
        ),
        ("[[events]]\nwhen = \"\"Order No\" > 5\"\n", true),
        ("[defaults]\ntenant = \"left(path, '\\d')\"\n", true),
        ("[[events]]\nwhen = 'a\n", false),
        ("[[events]]\ntype = \"a\\d\"\n", false),
        ("[store]\nurl = \"\\d\"\n", false),
    ] {
        let problems = load(&[("walhook.toml", text)], &[]).unwrap_err().join("\n");
        let is_hinted = problems.contains("is written between `'''` and `'''`");
        assert_eq!(is_hinted, hinted, "{text}: {problems}");
        assert!(problems.contains("is not valid TOML"), "{text}: {problems}");
    }
}

#[test]
fn a_file_that_is_no_toml_or_not_there_is_named_without_its_secrets() {
    let problems = load(
        &[(
            "walhook.toml",
            "[source]\nurl = 'postgres://u:hunter2@h\nslot='x'\n",
        )],
        &[],
    )
    .unwrap_err();
    assert!(
        problems[0].starts_with("walhook.toml:2: is not valid TOML"),
        "{problems:?}"
    );
    let all = problems.join("\n");
    assert!(!all.contains("hunter2"), "{all}");
    let error = Config::load_with(Some(Path::new("/nowhere/walhook.toml")), std::iter::empty())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot read /nowhere/walhook.toml"),
        "{error}"
    );
    let problems = load(&[("walhook.toml", "include = 'x'\nevents = 5\n")], &[]).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn a_retention_that_the_server_cannot_compute_with_is_refused() {
    for key in ["retention", "audit_retention"] {
        let written = |value: &str| format!("[store]\n{key} = '{value}'\n");
        let problems = load(&[("walhook.toml", &written("9999999d"))], &[]).unwrap_err();
        let expected = format!("walhook.toml:2: store.{key}: is 9999999d: use 36500d or less");
        assert!(problems.contains(&expected), "{problems:?}");
        let longest = load(&[("walhook.toml", &written("36500d"))], &[]);
        let refused = longest.err().unwrap_or_default();
        assert!(!refused.iter().any(|one| one.contains(key)), "{refused:?}");
    }
}
