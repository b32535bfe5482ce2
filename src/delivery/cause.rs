//! What brings an attempt about: the schedule, or a call of a user.

use uuid::Uuid;

/// Kept with every attempt, so that a user sees why it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trigger {
    /// The event itself, or the retry schedule after a failure.
    #[default]
    Schedule,
    /// A user retried this delivery.
    Retry,
    /// A user retried all that match a filter.
    RetryMany,
    Replay,
    /// The endpoint's circuit breaker was open, and admits one attempt to see whether it is well.
    Probe,
    /// A user sent a test event.
    Test,
}

impl Trigger {
    pub fn as_str(self) -> &'static str {
        match self {
            Trigger::Schedule => "schedule",
            Trigger::Retry => "retry",
            Trigger::RetryMany => "retry_many",
            Trigger::Replay => "replay",
            Trigger::Probe => "probe",
            Trigger::Test => "test",
        }
    }

    /// As the store keeps it. None is the schedule: nearly every attempt is, and a null costs
    /// its row nothing.
    pub fn stored(self) -> Option<i16> {
        match self {
            Trigger::Schedule => None,
            Trigger::Retry => Some(1),
            Trigger::RetryMany => Some(2),
            Trigger::Replay => Some(3),
            Trigger::Probe => Some(4),
            Trigger::Test => Some(5),
        }
    }

    /// The tables admit no other numbers.
    pub fn of_stored(stored: Option<i16>) -> Self {
        match stored {
            Some(1) => Trigger::Retry,
            Some(2) => Trigger::RetryMany,
            Some(3) => Trigger::Replay,
            Some(4) => Trigger::Probe,
            Some(5) => Trigger::Test,
            None | Some(_) => Trigger::Schedule,
        }
    }
}

/// What brings a delivery's next attempt about, and by whose call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    pub trigger: Trigger,
    /// The entry of the audit log that says who asked for it.
    pub actor: Option<Uuid>,
}

impl Cause {
    /// As a row of the schedule has it.
    pub fn of_stored(trigger: Option<i16>, actor: Option<Uuid>) -> Self {
        Cause {
            trigger: Trigger::of_stored(trigger),
            actor,
        }
    }

    /// The cause where the circuit breaker admits the attempt as its probe. What a user asks
    /// for stays the user's.
    pub fn as_probe(self) -> Self {
        match self.trigger {
            Trigger::Schedule => Cause {
                trigger: Trigger::Probe,
                ..self
            },
            Trigger::Retry
            | Trigger::RetryMany
            | Trigger::Replay
            | Trigger::Probe
            | Trigger::Test => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trigger_is_read_back_as_it_was_stored() {
        for trigger in [
            Trigger::Schedule,
            Trigger::Retry,
            Trigger::RetryMany,
            Trigger::Replay,
            Trigger::Probe,
            Trigger::Test,
        ] {
            assert_eq!(Trigger::of_stored(trigger.stored()), trigger);
        }
    }

    #[test]
    fn probe_takes_no_attempt_from_the_user_who_asked_for_it() {
        let of = |trigger| Cause::of_stored(trigger, None).as_probe().trigger;
        assert_eq!(of(None), Trigger::Probe);
        assert_eq!(of(Trigger::Retry.stored()), Trigger::Retry);
        assert_eq!(of(Trigger::Test.stored()), Trigger::Test);
    }
}
