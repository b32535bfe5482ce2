//! What a body tells of the row before, and to whom.

use super::*;

#[test]
fn previous_tells_what_changed_and_is_known() {
    let toasted = ["1", "acme", "paid", "10.5", "t", "?"];
    let full = data_of(&map("", update(PENDING, toasted)));
    assert_eq!(
        full,
        r#""data":{"id":1,"tenant_id":"acme","status":"paid","amount":10.5,"active":true,"metadata":{"a":{"b":1}}},"previous":{"status":"pending","amount":10.50}}"#
    );
    let listed = data_of(&map("data=['id', 'amount']", update(PENDING, PAID)));
    assert_eq!(listed, r#""data":{"id":1,"amount":10.50},"previous":{}}"#);
    assert!(!data_of(&map("", insert(PAID))).contains("previous"));

    let new_key = Operation::Update {
        old: Some(OldTuple::Key(tuple(["9", "~", "~", "~", "~", "~"]))),
        new: tuple(PAID),
    };
    let by_key = data_of(&map_with(
        rule("data=['id', 'status']"),
        ReplicaIdentity::Default,
        new_key,
    ));
    assert_eq!(
        by_key,
        r#""data":{"id":1,"status":"paid"},"previous":{"id":9}}"#
    );
}

#[test]
fn a_row_that_moved_tells_its_new_tenant_nothing_of_the_old_one() {
    let moved = ["1", "globex", "paid", "10.50", "t", "?"];
    let lines = "[events.data]\nid='id'\nstatus='status'\nwas='old.status'\nnow=\"changed(id)\"\nmetadata='metadata'\n";
    let body = data_of(&map(lines, update(PENDING, moved)));
    assert_eq!(
        body,
        r#""data":{"id":1,"status":"paid","was":null,"now":true,"metadata":{"a":{"b":1}}}}"#
    );
}
