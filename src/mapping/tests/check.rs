//! Rules against the table that they watch.

use super::*;

#[test]
fn rules_are_checked_against_the_table() {
    let check =
        |lines: &str, identity| -> Vec<RuleError> { rule(lines).check_table(&described(identity)) };
    for (lines, identity, key, message) in [
        (
            "when=\"became(statsu = 'x')\"",
            ReplicaIdentity::Full,
            "when",
            "did you mean `status`",
        ),
        (
            "[events.data]\nx='generated'",
            ReplicaIdentity::Full,
            "data.x",
            "generated",
        ),
        (
            "tenant='tennant_id'",
            ReplicaIdentity::Full,
            "tenant",
            "did you mean `tenant_id`",
        ),
        (
            "key=['idd']",
            ReplicaIdentity::Full,
            "key",
            "no column `idd`",
        ),
        (
            "old_values='full'\nwhen=\"became(status = 'x')\"",
            ReplicaIdentity::Default,
            "when",
            "alter table public.payments replica identity full;",
        ),
        (
            "old_values='full'\nwhen=\"old.status = 'x'\"",
            ReplicaIdentity::Index,
            "when",
            "`status`",
        ),
        (
            "on=['delete']\nold_values='full'",
            ReplicaIdentity::Default,
            "tenant",
            "`tenant_id`",
        ),
        (
            "",
            ReplicaIdentity::Nothing,
            "table",
            "application's own UPDATE and DELETE would fail",
        ),
        (
            "when=\"amount > 'five'\"",
            ReplicaIdentity::Full,
            "when",
            "no numeric",
        ),
        (
            "when=\"'x' = active\"",
            ReplicaIdentity::Full,
            "when",
            "neither true nor false",
        ),
        (
            "when=\"status in (1, 2)\"",
            ReplicaIdentity::Full,
            "when",
            "write '1'",
        ),
        (
            "tenant='amount'",
            ReplicaIdentity::Full,
            "tenant",
            "write (amount)::bigint",
        ),
        (
            "tenant='active'",
            ReplicaIdentity::Full,
            "tenant",
            "a text, an enum, a uuid or an integer",
        ),
        (
            "[events.data]\nchannel='web'",
            ReplicaIdentity::Full,
            "data.channel",
            "'web'",
        ),
        (
            "when=\"not became(status = 1)\"",
            ReplicaIdentity::Full,
            "when",
            "write '1'",
        ),
    ] {
        let errors = check(lines, identity);
        let matching = errors.iter().find(|error| error.key == key);
        let found =
            matching.unwrap_or_else(|| panic!("{lines}: no error under `{key}` in {errors:?}"));
        assert!(found.message.contains(message), "{lines}: {found}");
    }
    for (lines, identity) in [
        (
            "when=\"became(status = 'x') and amount > 5\"",
            ReplicaIdentity::Full,
        ),
        (
            "on=['insert']\nwhen=\"became(status = 'x')\"",
            ReplicaIdentity::Default,
        ),
        ("when=\"changed(id)\"", ReplicaIdentity::Default),
        (
            "on=['delete']\ntenant={value='one'}",
            ReplicaIdentity::Default,
        ),
        (
            "when=\"metadata->>'kind' = 'x' or (metadata->>'n')::numeric > 5\"",
            ReplicaIdentity::Default,
        ),
    ] {
        assert_eq!(check(lines, identity), [], "{lines}");
    }
    let mut keyless = described(ReplicaIdentity::Full);
    keyless.primary_key.clear();
    assert!(
        rule("").check_table(&keyless)[0]
            .message
            .contains("no primary key")
    );
    let errors = rule("").check(&[], &["public.payment".to_owned()]);
    assert!(
        errors[0].message.contains("did you mean `public.payment`"),
        "{}",
        errors[0]
    );
}
