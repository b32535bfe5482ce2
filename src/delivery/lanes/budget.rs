//! Requests in flight, all endpoints together: a budget for endpoints that answer, and
//! one for those that are slow, new or failing, so that these cannot use up the first.

use super::Limits;

/// Out of which budget an attempt is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `delivery.concurrency`.
    Fast,
    /// `delivery.slow_concurrency`.
    Slow,
}

#[derive(Debug)]
struct Budget {
    limit: usize,
    used: usize,
    /// Of these, attempts after the first that have not turned slow.
    retries: usize,
}

#[derive(Debug)]
pub(super) struct Budgets {
    fast: Budget,
    slow: Budget,
    /// Of the fast budget, as much as the machine has time for at the moment.
    bearable: usize,
    /// Attempts that turned slow while the slow budget was full: they stay in the fast
    /// one until a slow one ends.
    overstaying: usize,
}

impl Budgets {
    pub(super) fn new(limits: &Limits) -> Self {
        let budget = |limit| Budget {
            limit,
            used: 0,
            retries: 0,
        };
        Budgets {
            fast: budget(limits.concurrency),
            slow: budget(limits.slow_concurrency),
            bearable: limits.concurrency.min(limits.at_hand),
            overstaying: 0,
        }
    }

    /// How many more may start.
    pub(super) fn free(&self, class: Class) -> usize {
        let bearable = match class {
            Class::Fast => self.bearable.saturating_sub(self.fast.used),
            Class::Slow => usize::MAX,
        };
        self.left(class).min(bearable)
    }

    /// What is left of the budget. A quarter of the slow one is for attempts that turn
    /// slow: endpoints on trial must not keep these in the fast one.
    pub(super) fn left(&self, class: Class) -> usize {
        match class {
            Class::Fast => self.fast.limit.saturating_sub(self.fast.used),
            Class::Slow => {
                let on_trial = self.slow.limit - self.slow.limit / 4;
                on_trial.saturating_sub(self.slow.used)
            }
        }
    }

    /// The fast budget is full, and of endpoints that answer.
    pub(super) fn is_used_up(&self) -> bool {
        self.free(Class::Fast) == 0 && self.overstaying == 0
    }

    /// Whether an attempt after the first may start: a quarter is for first attempts.
    pub(super) fn admits_retry(&self, class: Class) -> bool {
        let budget = self.of(class);
        budget.retries < budget.limit - budget.limit / 4
    }

    pub(super) fn start(&mut self, class: Class, retry: bool) {
        let budget = self.of_mut(class);
        budget.used += 1;
        budget.retries += usize::from(retry);
    }

    /// A retry has ended, or has turned slow and counts as one no longer.
    pub(super) fn settle_retry(&mut self, class: Class) {
        let budget = self.of_mut(class);
        budget.retries = budget.retries.saturating_sub(1);
    }

    /// An attempt of the fast budget has turned slow: it is one of the slow from here on,
    /// whether there is room for it or not.
    pub(super) fn slow_down(&mut self) {
        if self.slow.used < self.slow.limit {
            self.slow.used += 1;
            self.fast.used = self.fast.used.saturating_sub(1);
        } else {
            self.overstaying += 1;
        }
    }

    /// An attempt has ended. Answers which budget has got room by it: which of the slow
    /// ones stand in the fast budget is nobody's affair, only how many.
    pub(super) fn finish(&mut self, class: Class) -> Class {
        let freed = match class {
            Class::Slow if self.overstaying > 0 => {
                self.overstaying -= 1;
                Class::Fast
            }
            class => class,
        };
        let budget = self.of_mut(freed);
        budget.used = budget.used.saturating_sub(1);
        freed
    }

    /// Of the fast budget.
    pub(super) fn fast_in_flight(&self) -> usize {
        self.fast.used
    }

    /// So many attempts of the fast budget and no more.
    pub(super) fn bear(&mut self, attempts: usize) {
        self.bearable = attempts.min(self.fast.limit);
    }

    pub(super) fn in_flight(&self) -> usize {
        self.fast.used + self.slow.used
    }

    fn of(&self, class: Class) -> &Budget {
        match class {
            Class::Fast => &self.fast,
            Class::Slow => &self.slow,
        }
    }

    fn of_mut(&mut self, class: Class) -> &mut Budget {
        match class {
            Class::Fast => &mut self.fast,
            Class::Slow => &mut self.slow,
        }
    }
}
