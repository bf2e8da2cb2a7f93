//! The faults in force, and their effects on one call.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Fault, Kind};
use crate::error::Error;
use crate::random::Random;
use crate::world::identity::Service;
use crate::world::peering::saturating_add;
use crate::world::{Caller, World};

/// A fault in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActiveFault {
    /// The ID, which removes the fault.
    pub id: u64,
    /// The number of calls that the fault has affected.
    pub hits: u32,
    /// The fault as it was requested.
    #[serde(flatten)]
    pub fault: Fault,
}

/// The effects of all faults on one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Effects {
    /// The total delay, by the clock of the machine.
    pub(crate) latency: Duration,
    /// The `gate` faults whose removal the call waits for.
    pub(crate) gates: Vec<u64>,
    /// The `hang` fault whose removal closes the connection. The call has no effect.
    pub(crate) hang: Option<u64>,
    /// The error that the call returns.
    pub(crate) error: Option<Error>,
    /// The `stale-describe` fault whose snapshot the call reads.
    pub(crate) stale: Option<u64>,
    /// How much of the response arrives.
    pub(crate) delivery: Delivery,
    /// The kinds of these faults, for the journal.
    pub(crate) kinds: Vec<&'static str>,
}

/// How much of a response arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Delivery {
    #[default]
    Whole,
    /// The first half.
    Half,
    Nothing,
}

/// A fault in force, with the data that its kind needs.
#[derive(Debug)]
struct Entry {
    active: ActiveFault,
    /// For `stale-describe`: the snapshot, its time, and when the fault ends.
    snapshot: Option<(World, Timestamp, Timestamp)>,
}

/// All faults in force, in the order in which they were added.
#[derive(Debug)]
pub(crate) struct Faults {
    entries: Vec<Entry>,
    last_id: u64,
    random: Random,
}

impl Faults {
    /// `seed` decides which calls a fault with a probability affects.
    pub(crate) fn new(seed: u64) -> Self {
        Self { entries: Vec::new(), last_id: 0, random: Random::new(seed) }
    }

    /// Adds a fault and returns its ID. A number out of range is an error.
    pub(crate) fn add(&mut self, fault: Fault, world: &World, now: Timestamp) -> Result<u64, Error> {
        let out_of_range = |field: &str| Error::new("InvalidFault", format!("{field} is out of range"));
        if !(0.0..=1.0).contains(&fault.probability) {
            return Err(out_of_range("probability"));
        }
        let snapshot = match fault.kind {
            Kind::StaleDescribe { seconds } => {
                let period = Duration::try_from_secs_f64(seconds).map_err(|_| out_of_range("seconds"))?;
                Some((world.clone(), now, saturating_add(now, period)))
            }
            Kind::Latency { seconds } => {
                Duration::try_from_secs_f64(seconds).map_err(|_| out_of_range("seconds"))?;
                None
            }
            Kind::Error { status: Some(status), .. } if !(400..600).contains(&status) => {
                return Err(out_of_range("status"));
            }
            _ => None,
        };
        self.last_id += 1;
        self.entries.push(Entry { active: ActiveFault { id: self.last_id, hits: 0, fault }, snapshot });
        Ok(self.last_id)
    }

    /// All faults, including those that have reached their count.
    pub(crate) fn list(&self) -> impl Iterator<Item = &ActiveFault> {
        self.entries.iter().map(|entry| &entry.active)
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.list().any(|active| active.id == id)
    }

    /// Removes one fault, or all. Returns whether a fault was removed.
    pub(crate) fn remove(&mut self, id: Option<u64>) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| id.is_some_and(|id| entry.active.id != id));
        self.entries.len() < before
    }

    /// The snapshot of a `stale-describe` fault, and its time.
    pub(crate) fn snapshot(&mut self, id: u64) -> Option<(&mut World, Timestamp)> {
        let entry = self.entries.iter_mut().find(|entry| entry.active.id == id)?;
        entry.snapshot.as_mut().map(|(world, then, _)| (world, *then))
    }

    /// Determines the effects on a call, and counts it as a hit of each fault that affects it. Delays add up. The first
    /// fault that ends the call decides; later faults do not affect it.
    pub(crate) fn effects_on(
        &mut self,
        service: Service,
        action: &str,
        caller: &Caller,
        region: &str,
        now: Timestamp,
    ) -> Effects {
        let mut effects = Effects::default();
        for Entry { active: ActiveFault { id, hits, fault }, snapshot } in &mut self.entries {
            let is_over = snapshot.as_ref().is_some_and(|(_, _, until)| *until <= now)
                || matches!(fault.kind, Kind::StaleDescribe { .. }) && !action.starts_with("Describe");
            let is_spent = fault.count.is_some_and(|count| *hits >= count);
            if is_over
                || is_spent
                || !fault.matching.matches(action, caller, region)
                || !self.random.chance(fault.probability)
            {
                continue;
            }
            *hits += 1;
            effects.kinds.push(fault.kind.name());
            match &fault.kind {
                Kind::Latency { seconds } => effects.latency += Duration::from_secs_f64(*seconds),
                Kind::Gate => effects.gates.push(*id),
                Kind::StaleDescribe { .. } => effects.stale = Some(*id),
                Kind::Error { code, message, status } => {
                    effects.error = Some(error_of(code, message.as_deref(), *status));
                    break;
                }
                Kind::Throttle => {
                    effects.error = Some(Error::throttled(service));
                    break;
                }
                Kind::Hang => {
                    effects.hang = Some(*id);
                    break;
                }
                Kind::LostReply => {
                    effects.delivery = Delivery::Nothing;
                    break;
                }
                Kind::CrashMidAnswer => {
                    effects.delivery = Delivery::Half;
                    break;
                }
            }
        }
        effects
    }
}

/// The error of a code, with the message and status that AWS uses if they are known.
fn error_of(code: &str, message: Option<&str>, status: Option<u16>) -> Error {
    let known = [Error::unauthorized(), Error::throttled(Service::Ec2)].into_iter().find(|error| error.code == code);
    let usual_status = match code {
        "InternalError" | "InternalFailure" => 500,
        "Unavailable" | "ServiceUnavailable" => 503,
        _ => 400,
    };
    let known = known.unwrap_or_else(|| Error::new(code, "The test requested this error.").with_status(usual_status));
    Error {
        message: message.map_or(known.message, str::to_owned),
        status: status.unwrap_or(known.status),
        code: known.code,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::faults::Matching;
    use crate::world::{AccessKey, Settings};

    fn effects_on(faults: &mut Faults, action: &str) -> Effects {
        faults.effects_on(Service::Ec2, action, &AccessKey::default_user().caller, "eu-west-1", Timestamp::UNIX_EPOCH)
    }

    fn with(faults: impl IntoIterator<Item = Fault>) -> Faults {
        let mut all = Faults::new(1);
        for fault in faults {
            all.add(fault, &World::new(Settings::default(), 1), Timestamp::UNIX_EPOCH).unwrap();
        }
        all
    }

    #[test]
    fn a_fault_affects_the_calls_that_match_up_to_its_count() {
        let mut faults = with([Fault::new(Kind::Throttle).on("Describe*").times(2)]);
        let hits = |faults: &mut Faults, action| effects_on(faults, action).error.is_some();
        assert!(!hits(&mut faults, "CreateVpc"));
        assert!(hits(&mut faults, "DescribeVpcs"));
        assert!(hits(&mut faults, "DescribeTags"));
        assert!(!hits(&mut faults, "DescribeVpcs"));
        let elsewhere = Matching { region: Some("eu-west-2".into()), ..Matching::default() };
        assert!(!hits(&mut with([Fault { matching: elsewhere, ..Fault::new(Kind::Throttle) }]), "DescribeVpcs"));
        let another = Matching { account: Some("222222222222".into()), ..Matching::default() };
        assert!(!hits(&mut with([Fault { matching: another, ..Fault::new(Kind::Throttle) }]), "DescribeVpcs"));
    }

    #[test]
    fn probabilities_are_deterministic() {
        let run = || {
            let mut faults = with([Fault { probability: 0.5, ..Fault::new(Kind::Throttle) }]);
            (0..100).map(|_| effects_on(&mut faults, "DescribeVpcs").error.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
        let hits = run().into_iter().filter(|hit| *hit).count();
        assert!((30..70).contains(&hits), "{hits} of 100");
    }

    #[test]
    fn delays_add_up_and_the_first_ending_fault_decides() {
        let mut faults = with([
            Fault::new(Kind::Latency { seconds: 0.5 }),
            Fault::new(Kind::Latency { seconds: 1.0 }),
            Fault::new(Kind::LostReply),
            Fault::new(Kind::Throttle),
        ]);
        let effects = effects_on(&mut faults, "CreateVpc");
        assert_eq!(effects.latency, Duration::from_millis(1500));
        assert_eq!((effects.delivery, effects.error), (Delivery::Nothing, None));
        assert_eq!(effects.kinds, ["latency", "latency", "lost-reply"]);
    }

    #[test]
    fn known_codes_have_their_message_and_status() {
        let error = |code, status| error_of(code, None, status);
        assert_eq!(error("UnauthorizedOperation", None), Error::unauthorized());
        assert_eq!(error("InternalError", None).status, 500);
        assert_eq!(error("InternalError", Some(502)).status, 502);
        assert_eq!(error("VpcLimitExceeded", None).status, 400);
    }
}
