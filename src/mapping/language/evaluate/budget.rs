//! How much work an evaluation may be.

/// What evaluating may take, at most, or has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Parts evaluated, and what takes as long as one: some 64 bytes of a text that is
    /// searched, 16 digits that are read, 8 bytes of JSON that are put into another form.
    pub steps: u32,
    /// Bytes of texts made.
    pub bytes: usize,
}

impl Budget {
    /// Of one rule on one row, and of one filter on one event.
    pub const EACH: Budget = Budget {
        steps: 10_000,
        bytes: 1 << 20,
    };
    /// Of all filters that are asked of one event.
    pub const EVENT: Budget = Budget {
        steps: 100_000,
        bytes: 16 << 20,
    };

    pub fn least(self, other: Budget) -> Budget {
        Budget {
            steps: self.steps.min(other.steps),
            bytes: self.bytes.min(other.bytes),
        }
    }

    /// What is left of it.
    pub fn less(self, taken: Budget) -> Budget {
        Budget {
            steps: self.steps.saturating_sub(taken.steps),
            bytes: self.bytes.saturating_sub(taken.bytes),
        }
    }
}
