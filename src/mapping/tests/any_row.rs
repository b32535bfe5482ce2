//! Any row at all: no panic, and a body that is JSON.

use proptest::prelude::*;

use super::*;

fn any_value() -> impl Strategy<Value = TupleValue> {
    prop_oneof![
        Just(TupleValue::Null),
        Just(TupleValue::UnchangedToast),
        prop::collection::vec(any::<u8>(), 0..24).prop_map(|bytes| TupleValue::Text(bytes.into())),
        prop::sample::select(vec![
            "1",
            "-0.5",
            "NaN",
            "t",
            "{\"a\":[1]}",
            "[1e999]",
            "paid",
            ""
        ])
        .prop_map(|text| TupleValue::Text(Bytes::from_static(text.as_bytes()))),
    ]
}

/// Shorter and longer than the relation, too.
fn any_tuple() -> impl Strategy<Value = Tuple> {
    prop::collection::vec(any_value(), 0..8)
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let old = || {
        prop_oneof![
            any_tuple().prop_map(OldTuple::Key),
            any_tuple().prop_map(OldTuple::Full)
        ]
    };
    prop_oneof![
        any_tuple().prop_map(|new| Operation::Insert { new }),
        (prop::option::of(old()), any_tuple())
            .prop_map(|(old, new)| Operation::Update { old, new }),
        old().prop_map(|old| Operation::Delete { old }),
        Just(Operation::Truncate),
    ]
}

proptest! {
    #[test]
    fn no_row_makes_it_panic_and_every_body_is_json(
        operation in any_operation(),
        identity in prop::sample::select(vec![
            ReplicaIdentity::Default, ReplicaIdentity::Nothing, ReplicaIdentity::Full, ReplicaIdentity::Index,
        ]),
    ) {
        let text = "[[events]]\ntype='a'\ntable='payments'\non=['insert','update','delete']\n\
            [[events]]\ntype='b'\ntable='payments'\non=['insert','update','delete']\nkey=['id','status']\n\
            tenant={value='x'}\nwhen=\"became(status = 'paid') or changed(amount) or trunc(amount * 2.5 / 3) > -round(amount, 2)\"\n\
            [events.data]\na=\"metadata#>'{a,0}'\"\nb=\"concat(old.amount, status)\"\nc=\"amount::double precision\"\nd='status'\n\
            [events.data.e]\nf=\"metadata\"\n";
        for mapped in map_with(rules(text), identity, operation) {
            if let Mapped::Event(event) = mapped {
                let parsed: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(&event.body);
                prop_assert!(parsed.is_ok(), "{:?}", event.body);
            }
        }
    }
}
