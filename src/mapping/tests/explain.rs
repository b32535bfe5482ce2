//! Why a rule does and does not make an event, and examples as unit tests.

use super::*;
use crate::mapping::example::{self, Examples};
use crate::mapping::{Explanation, Trace, Verdict};

fn explain(rules: RuleSet, operation: Operation) -> Explanation {
    let described = described(ReplicaIdentity::Full);
    assert_eq!(rules.check_table(&described), []);
    let change = Change {
        relation: relation(ReplicaIdentity::Full),
        ordinal: 3,
        operation,
    };
    Mapper::new(Arc::new(rules), 1).explain(&header(), &change)
}

/// Every expression of a trace with its value or error, depth first.
fn told(trace: &Trace) -> Vec<String> {
    let value = trace.value.as_ref().map(|value| value.get().to_owned());
    let value = value.or(trace.error.clone()).unwrap_or_default();
    let mut told = vec![format!("{}: {value}", trace.expression)];
    told.extend(trace.parts.iter().flat_map(told_of));
    told
}

fn told_of(trace: &Trace) -> Vec<String> {
    told(trace)
}

fn condition_of(when: &str, operation: Operation) -> Vec<String> {
    let explanation = explain(rule(&format!("when = \"{when}\"\n")), operation);
    match &explanation.rules[0].verdict {
        Verdict::ConditionFalse(condition) => told(condition),
        Verdict::Event {
            condition: Some(condition),
            ..
        } => told(condition),
        Verdict::Parked {
            condition: Some(condition),
            ..
        } => told(condition),
        _ => panic!("no condition"),
    }
}

const PENDING: [&str; 6] = ["1", "acme", "pending", "120.50", "t", r#"{"vip":true}"#];
const PAID: [&str; 6] = ["1", "acme", "paid", "120.50", "t", r#"{"vip":true}"#];

#[test]
fn a_false_condition_shows_the_values_that_it_saw() {
    assert_eq!(
        condition_of(
            "became(status = 'paid') and amount > 100",
            update(PAID, PAID)
        ),
        [
            "became(status = 'paid') and amount > 100: false",
            "became(status = 'paid'): false",
            "old.status: \"paid\"",
            "new.status: \"paid\"",
        ],
        "what stands after a false `and` was not looked at"
    );
    assert_eq!(
        condition_of(
            "became(status = 'paid') and amount > 200",
            update(PENDING, PAID)
        ),
        [
            "became(status = 'paid') and amount > 200: false",
            "became(status = 'paid'): true",
            "old.status: \"pending\"",
            "new.status: \"paid\"",
            "amount > 200: false",
            "amount: 120.50",
        ]
    );
    assert_eq!(
        condition_of(
            "not (metadata->>'vip')::boolean or changed(amount, active)",
            update(PENDING, PAID)
        ),
        [
            "not (metadata->>'vip')::boolean or changed(amount, active): false",
            "not (metadata->>'vip')::boolean: false",
            "(metadata->>'vip')::boolean: true",
            "metadata->>'vip': \"true\"",
            "changed(amount, active): false",
            "old.amount: 120.50",
            "new.amount: 120.50",
            "old.active: true",
            "new.active: true",
        ]
    );
    assert_eq!(
        condition_of("status = 'paid'", insert(["1", "acme", "~", "1", "t", "~"])),
        ["status = 'paid': null", "status: null"]
    );
}

#[test]
fn a_condition_without_a_value_says_which_part_has_none() {
    let told = condition_of("amount / (amount - amount) > 1", insert(PAID));
    assert_eq!(told[0], "amount / (amount - amount) > 1: division by zero");
    assert_eq!(told[2], "amount: 120.50");
}

#[test]
fn explaining_says_what_mapping_does() {
    let rules = || {
        rules(
            "[[events]]\nname='paid'\ntype='p.paid'\ntable='payments'\nwhen=\"became(status = 'paid')\"\n\
             [[events]]\nname='new'\ntype='p.new'\ntable='payments'\non=['insert']\n\
             [[events]]\nname='gone'\ntype='p.gone'\ntable='payments'\non=['delete', 'update']\ntenant={value='x'}\n\
             [[events]]\nname='odd'\ntype='p.odd'\ntable='payments'\nwhen='1 / (amount - 120.5) > 0'\n",
        )
    };
    let no_tenant = ["1", "~", "paid", "120.50", "t", "~"];
    for operation in [
        insert(PAID),
        insert(no_tenant),
        update(PENDING, PAID),
        update(PAID, PENDING),
        Operation::Delete {
            old: OldTuple::Full(tuple(PAID)),
        },
        Operation::Truncate,
    ] {
        let change = Change {
            relation: relation(ReplicaIdentity::Full),
            ordinal: 3,
            operation: operation.clone(),
        };
        let compiled = rules();
        compiled.check_table(&described(ReplicaIdentity::Full));
        let mut mapped = Vec::new();
        Mapper::new(Arc::new(compiled), 1).map(&header(), &change, &mut mapped);
        let explanation = explain(rules(), operation);
        let explained: Vec<Mapped> = explanation
            .rules
            .into_iter()
            .filter_map(|one| match one.verdict {
                Verdict::Event { event, .. } => Some(Mapped::Event(event)),
                Verdict::Parked { reason, detail, .. } => {
                    Some(Mapped::Parked(crate::mapping::ParkedChange {
                        commit_lsn: header().commit_lsn,
                        ordinal: 3,
                        rule: one.rule,
                        relation: Arc::from("public.payments"),
                        row_key: Some("1".to_owned()),
                        row_bytes: None,
                        change: crate::pgoutput::kept::encode(&header(), &change),
                        reason,
                        detail,
                        unknown_label: None,
                    }))
                }
                Verdict::OtherOperation(_) | Verdict::ConditionFalse(_) => None,
            })
            .collect();
        assert_eq!(mapped, explained, "{change:?}");
    }
}

#[test]
fn an_explanation_names_the_row_by_its_primary_key() {
    let explanation = explain(rule("on = ['delete']\n"), insert(PAID));
    let key: Vec<_> = explanation
        .key
        .iter()
        .map(|(name, value)| (name.as_str(), value.get()))
        .collect();
    assert_eq!((key, explanation.operation), (vec![("id", "1")], "insert"));
    assert!(matches!(
        &explanation.rules[0].verdict,
        Verdict::OtherOperation(on) if on == &["delete"]
    ));
}

#[test]
fn what_prints_a_trace_by_debug_prints_no_values() {
    let explanation = explain(rule("when = \"status = 'void'\"\n"), insert(PAID));
    let Verdict::ConditionFalse(condition) = &explanation.rules[0].verdict else {
        panic!("it holds");
    };
    let shown = format!("{condition:?}");
    assert!(
        shown.contains("status = 'void'") && !shown.contains("paid"),
        "{shown}"
    );
}

/// Runs the examples of one rule.
fn examples(lines: &str) -> Examples {
    #[derive(Deserialize)]
    struct File {
        events: Vec<RuleConfig>,
    }
    let text = format!("[[events]]\nname='r'\ntype='p.x'\ntable='public.payments'\n{lines}");
    let file: File = toml::from_str(&text).unwrap();
    let rules = RuleSet::compile(&file.events, &DefaultsConfig::default()).unwrap();
    let described = [described(ReplicaIdentity::Full)];
    assert_eq!(rules.check(&described, &[]), []);
    example::run(&rules, &file.events, &described)
}

const RULE: &str = "when = \"became(status = 'paid') and amount > 100\"\n[events.data]\namount = 'amount'\nvip = \"(metadata->>'vip')::boolean\"\n";

#[test]
fn examples_hold_where_the_rule_does_what_they_say() {
    let ran = examples(&format!(
        "{RULE}
        [[events.examples]]
        op = 'update'
        old = {{ status = 'pending' }}
        new = {{ status = 'paid', amount = '120.50', metadata = {{ vip = true }} }}
        expect = true
        data = {{ amount = 120.5, vip = true }}
        [[events.examples]]
        op = 'update'
        old_nulls = ['status']
        new = {{ status = 'paid', amount = 101, active = false }}
        expect = true
        [[events.examples]]
        op = 'update'
        new = {{ status = 'paid', amount = 101 }}
        expect = false
        [[events.examples]]
        op = 'delete'
        old = {{ status = 'paid' }}
        expect = false"
    ));
    assert_eq!(ran.failures, []);
    assert_eq!(ran.held, 4);
}

#[test]
fn examples_that_do_not_hold_say_what_is_wrong_and_where() {
    let failure = |example: &str| {
        let ran = examples(&format!("{RULE}[[events.examples]]\n{example}"));
        let [failure] = ran.failures.as_slice() else {
            panic!("{ran:?}");
        };
        format!("{}: {}", failure.key, failure.message)
    };
    let paid = "op = 'insert'\nnew = { status = 'paid', amount = 120 }\n";
    assert_eq!(
        failure("op = 'insert'\nnew = { status = 'paid', amount = 99 }\nexpect = true"),
        "examples[0].expect: the rule makes no event of it, as its `when` is false: \
         became(status = 'paid') and amount > 100 (new.status is \"paid\", amount is 99)"
    );
    assert!(failure(&format!("{paid}expect = false")).contains("makes an event of it"));
    assert!(
        failure(&format!("{paid}expect = true\ndata = {{ amount = 121 }}"))
            .starts_with("examples[0].data.amount: the event's data has 120, not 121")
    );
    assert!(
        failure(&format!("{paid}expect = true\ndata = {{ amout = 120 }}"))
            .contains("has no `amout`; did you mean `amount`?")
    );
    assert!(
        failure("op = 'insert'\nnew = { statsu = 'paid' }\nexpect = true")
            .starts_with("examples[0].new.statsu: table `public.payments` has no column `statsu`; did you mean `status`?")
    );
    assert!(
        failure("op = 'insert'\nnew = { amount = 'much' }\nexpect = true")
            .starts_with("examples[0].new.amount: expected a number")
    );
    assert!(
        failure("op = 'delete'\nold = { status = 'paid', amount = 120 }\nexpect = true")
            .contains("it takes insert and update and no delete")
    );
}

#[test]
fn an_example_that_makes_no_sense_is_refused_when_it_is_read() {
    let refused = |example: &str| {
        #[derive(Deserialize)]
        struct File {
            events: Vec<RuleConfig>,
        }
        let text = format!("[[events]]\ntype='p.x'\ntable='t'\n[[events.examples]]\n{example}");
        let file: File = toml::from_str(&text).unwrap();
        let errors = RuleSet::compile(&file.events, &DefaultsConfig::default()).unwrap_err();
        errors.iter().map(RuleError::path).collect::<Vec<_>>()
    };
    for (example, key) in [
        ("op='insert'\nexpect=true", "new"),
        ("op='insert'\nnew={}\nold={}\nexpect=true", "old"),
        ("op='update'\nold={}\nexpect=true", "new"),
        ("op='delete'\nexpect=true", "old"),
        ("op='upsert'\nnew={}\nexpect=true", "op"),
        ("op='insert'\nnew={}\nexpect=false\ndata={}", "data"),
        (
            "op='insert'\nnew={}\nold_nulls=['a']\nexpect=true",
            "old_nulls",
        ),
    ] {
        assert_eq!(refused(example), [format!("events[0].examples[0].{key}")]);
    }
}
