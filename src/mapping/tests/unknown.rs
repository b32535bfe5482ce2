//! What a rule cannot know is parked.

use super::*;

#[test]
fn what_cannot_be_known_is_parked_and_never_told() {
    let toasted = ["1", "acme", "paid", "10.50", "t", "?"];
    let unlogged = |new| Operation::Update {
        old: None,
        new: tuple(new),
    };
    let key_only = Operation::Delete {
        old: OldTuple::Key(tuple(["1", "~", "~", "~", "~", "~"])),
    };
    for (lines, identity, operation, reason, detail) in [
        (
            "",
            ReplicaIdentity::Full,
            insert(["1", "~", "x", "1", "t", "~"]),
            ParkedReason::Unroutable,
            "`tenant_id`, is null",
        ),
        (
            "",
            ReplicaIdentity::Full,
            insert(["1", "", "x", "1", "t", "~"]),
            ParkedReason::Unroutable,
            "is empty",
        ),
        (
            "on=['delete']",
            ReplicaIdentity::Default,
            key_only,
            ParkedReason::Unroutable,
            "not known",
        ),
        (
            "",
            ReplicaIdentity::Default,
            unlogged(toasted),
            ParkedReason::Unmappable,
            "`metadata` is stored out of line",
        ),
        (
            "when=\"metadata->>'a' = '1'\"",
            ReplicaIdentity::Default,
            unlogged(toasted),
            ParkedReason::Unmappable,
            "`metadata`",
        ),
        (
            "when=\"changed(status)\"",
            ReplicaIdentity::Default,
            unlogged(PAID),
            ParkedReason::Unmappable,
            "old value of column `status`",
        ),
        (
            "when=\"amount > status::numeric\"",
            ReplicaIdentity::Full,
            insert(PAID),
            ParkedReason::Unmappable,
            "a text is no number",
        ),
        (
            "when=\"1 / (amount - amount) > 0\"",
            ReplicaIdentity::Full,
            insert(PAID),
            ParkedReason::Unmappable,
            "division by zero",
        ),
        (
            "when=\"amount = 1\"",
            ReplicaIdentity::Full,
            insert(["1", "acme", "x", "secret", "t", "~"]),
            ParkedReason::Unmappable,
            "cannot be read as its type",
        ),
    ] {
        let mapped = map_with(rule(lines), identity, operation);
        let [Mapped::Parked(parked)] = mapped.as_slice() else {
            panic!("{lines}: expected a parked change, not {mapped:?}");
        };
        assert_eq!(parked.reason, reason, "{lines}");
        assert!(parked.detail.contains(detail), "{lines}: {}", parked.detail);
        assert!(!parked.detail.contains("secret"));
        assert_eq!(
            (&*parked.rule, &*parked.relation, parked.ordinal),
            ("r", "public.payments", 3)
        );
    }
}
