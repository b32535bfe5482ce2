//! Maps a change once more that was parked.

use crate::mapping::Mapped;
use crate::pgoutput::{Change, TransactionHeader};

use super::{Mapper, bound};

impl Mapper {
    /// What this rule alone makes of a change that was parked, whether it is held or not:
    /// the old values that it needed were looked up then. False where it is no rule of the
    /// change's table.
    pub fn map_again(
        &mut self,
        rule: &str,
        header: &TransactionHeader,
        change: &Change,
        out: &mut Vec<Mapped>,
    ) -> bool {
        self.map_by(Some(rule), header, change, out);
        let relation = bound(&mut self.relations, &self.rules, &change.relation);
        let mut rules = relation.rules.iter();
        rules.any(|bound| {
            self.rules
                .rules
                .get(bound.rule)
                .is_some_and(|known| *known.name == *rule)
        })
    }
}
