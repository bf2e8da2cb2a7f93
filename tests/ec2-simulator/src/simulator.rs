//! One simulated cloud: the world, its clock, the faults in force and the journal. Knows calls, but not HTTP.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::actions::{Action, Context};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::faults::{Delivery, Faults, Verdict};
use crate::iam::{self, Decision, Policies};
use crate::journal::{Entry, Journal};
use crate::protocol::signature::Scope;
use crate::protocol::{Params, Xml, answer};
use crate::random::Random;
use crate::throttle::Throttle;
use crate::world::identity::Service;
use crate::world::settings::SessionClock;
use crate::world::{Call, Caller, Place, Scene, Settings, World};

/// One simulated cloud.
#[derive(Debug)]
pub struct Simulator {
    state: Mutex<State>,
    seed: u64,
    /// Told whenever a fault goes, for the calls that wait for it.
    fault_removed: watch::Sender<()>,
}

/// All that changes.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) world: World,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) journal: Journal,
    pub(crate) policies: Policies,
    throttle: Throttle,
    /// Apart from the world's, so that reading does not change which IDs come next.
    request_ids: Random,
    /// For the encoded messages of denials; apart for the same reason.
    encoded: Random,
}

/// What HTTP brought.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The query string and the form, together.
    pub params: Params,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `X-Amz-Security-Token` header.
    pub security_token: Option<String>,
}

/// What HTTP is to bring back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The XML.
    pub body: String,
    /// The request's ID.
    pub request_id: String,
    /// How much of it arrives.
    pub delivery: Delivery,
}

/// A call on its way.
struct Incoming {
    params: Params,
    action: String,
    scope: Result<Scope>,
    token: Option<String>,
    request_id: String,
    /// What policies said.
    allowed_by: Vec<String>,
    denied: Option<String>,
}

impl Simulator {
    /// A cloud of nothing but the default access key.
    #[must_use]
    pub fn new(settings: Settings, clock: Clock, seed: u64) -> Self {
        let state = State {
            world: World::new(settings, seed),
            clock,
            faults: Faults::new(seed),
            journal: Journal::default(),
            policies: Policies::default(),
            throttle: Throttle::default(),
            request_ids: Random::new(!seed),
            encoded: Random::new(seed.rotate_left(32)),
        };
        Self { state: Mutex::new(state), seed, fault_removed: watch::Sender::new(()) }
    }

    /// Replaces the world, and sets the clock if the scene says so. Faults, policies and journal stay.
    ///
    /// # Errors
    /// When the scene makes no sense.
    pub fn load(&self, scene: Scene) -> Result<()> {
        let now = scene.now;
        let mut state = self.state();
        state.world = World::from_scene(scene, state.world.settings().clone(), self.seed)?;
        if let Some(now) = now {
            state.clock = Clock::new(now, state.clock.read().factor);
        }
        Ok(())
    }

    /// The state, with all that was due until now done.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic inside a call is a bug of the simulator; the other calls need not suffer for it.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state.clock.now();
        state.world.advance(now);
        state
    }

    /// Removes one fault, or all, and lets the calls go that wait for it. Tells whether there was any.
    pub fn remove_fault(&self, id: Option<u64>) -> bool {
        let removed = self.state().faults.remove(id);
        self.fault_removed.send_replace(());
        removed
    }

    /// Answers a call.
    pub async fn handle(&self, received: Received) -> Reply {
        let (incoming, verdict) = self.judge(received);
        for gate in &verdict.gates {
            self.removal(*gate).await;
        }
        if !verdict.latency.is_zero() {
            tokio::time::sleep(verdict.latency).await;
        }
        if let Some(hang) = verdict.hang {
            self.removal(hang).await;
            // No code and no status: nobody is told.
            let nothing = Error::new("", "").with_status(0);
            return self.state().close(incoming, None, Err(nothing), verdict);
        }
        self.state().perform(incoming, verdict)
    }

    /// Reads who calls what, and has the faults judge it.
    fn judge(&self, received: Received) -> (Incoming, Verdict) {
        let mut params = received.params;
        let action = params.take("Action").unwrap_or_default();
        params.take("Version");
        let presigned = params.take("X-Amz-Credential");
        let token = received.security_token.or_else(|| params.take("X-Amz-Security-Token"));
        for rest in ["X-Amz-Algorithm", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"] {
            params.take(rest);
        }
        let scope = match (&received.authorization, presigned) {
            (Some(header), _) => Scope::of_header(header),
            (None, Some(credential)) => Scope::of_credential(&credential),
            (None, None) => {
                let message = "Request is missing Authentication Token";
                Err(Error::new("MissingAuthenticationToken", message).with_status(403))
            }
        };
        let mut state = self.state();
        let now = state.clock.now();
        let request_id = state.request_ids.uuid();
        let incoming = Incoming { params, action, scope, token, request_id, allowed_by: Vec::new(), denied: None };
        let verdict = match (state.caller(&incoming), &incoming.scope) {
            (Ok(caller), Ok(scope)) => state.faults.judge(scope.service, &incoming.action, &caller, &scope.region, now),
            (Err(_), _) | (_, Err(_)) => Verdict::default(),
        };
        (incoming, verdict)
    }

    /// Waits until this fault is gone.
    async fn removal(&self, fault: u64) {
        let mut removed = self.fault_removed.subscribe();
        while self.state().faults.has(fault) && removed.changed().await.is_ok() {}
    }
}

impl State {
    /// The time by which sessions end.
    pub(crate) fn session_now(&self) -> Timestamp {
        match self.world.settings().session_clock {
            SessionClock::Machine => Timestamp::now(),
            SessionClock::Simulator => self.clock.now(),
        }
    }

    fn caller(&self, incoming: &Incoming) -> Result<Caller> {
        let scope = incoming.scope.clone()?;
        let now = self.session_now();
        self.world.authenticate(scope.service, &scope.key_id, incoming.token.as_deref(), now).cloned()
    }

    /// Does what the call asks.
    fn perform(&mut self, mut incoming: Incoming, verdict: Verdict) -> Reply {
        let parameters = incoming.params.clone();
        let caller = self.caller(&incoming);
        let result = match (&caller, &incoming.scope.clone()) {
            (Ok(caller), Ok(scope)) => {
                let place = Place::new(&caller.account, &scope.region);
                self.act(&mut incoming, caller, &place, &verdict)
            }
            (Err(error), _) | (_, Err(error)) => Err(error.clone()),
        };
        incoming.params = parameters;
        self.close(incoming, caller.ok(), result, verdict)
    }

    fn act(&mut self, incoming: &mut Incoming, caller: &Caller, place: &Place, verdict: &Verdict) -> Result<Xml> {
        if incoming.action.is_empty() {
            return Err(Error::new("MissingAction", "The request must contain the parameter Action"));
        }
        let action = Action::find(incoming.service(), &incoming.action)?;
        let now = self.clock.now();
        if action.service == Service::Ec2
            && let Some(throttling) = &self.world.settings().throttling
        {
            let bucket = if action.is_mutating { throttling.mutating } else { throttling.non_mutating };
            if !self.throttle.admit(place, action.name, bucket, now) {
                return Err(Error::throttled(action.service));
            }
        }
        if let Some(error) = &verdict.error {
            return Err(error.clone());
        }
        self.authorize(&action, incoming, caller, place)?;
        let mut params = std::mem::take(&mut incoming.params);
        let dry_run = params.parsed("DryRun")?.unwrap_or_default();
        let session_now = self.session_now();
        let context = |now| Context { caller, call: Call { place: place.clone(), now, dry_run }, session_now };
        match verdict.stale.and_then(|fault| self.faults.past(fault)) {
            Some((past, then)) => action.run(params, past, &context(then)),
            None => action.run(params, &mut self.world, &context(now)),
        }
    }

    /// Asks the policies. A dry run ends later, so it reports denials too. AWS does not document whether it checks
    /// permissions or existence first; the simulator answers NotFound first.
    fn authorize(&mut self, action: &Action, incoming: &mut Incoming, caller: &Caller, place: &Place) -> Result<()> {
        if self.policies.is_empty() {
            return Ok(());
        }
        let call = Call { place: place.clone(), now: self.clock.now(), dry_run: false };
        let key_id = incoming.scope.as_ref().map(|scope| scope.key_id.as_str()).unwrap_or_default();
        let params = incoming.params.clone();
        for asked in iam::of_call(&self.world, &call, caller, action.service, action.name, params) {
            for decision in [self.policies.decide(key_id, caller, &asked), self.policies.decide_trust(caller, &asked)] {
                match decision {
                    Decision::Allowed(by) => incoming.allowed_by.extend(by),
                    Decision::Denied(why) => {
                        let (who, what, on) = (&caller.arn, &asked.action, &asked.resource);
                        let why = format!("User: {who} is not authorized to perform: {what} on resource: {on} {why}");
                        let encoded: String = (0..16).map(|_| format!("{:016x}", self.encoded.next_u64())).collect();
                        incoming.allowed_by.clear();
                        incoming.denied = Some(why.clone());
                        return Err(Error::denied(action.service, &why, &encoded));
                    }
                }
            }
        }
        Ok(())
    }

    /// Notes the call and writes the answer.
    fn close(&mut self, incoming: Incoming, caller: Option<Caller>, result: Result<Xml>, verdict: Verdict) -> Reply {
        let service = incoming.service();
        let Incoming { params, action, scope, request_id, allowed_by, denied, .. } = incoming;
        let (status, code, body) = match result {
            Ok(xml) => (200, None, answer::success(service, &action, &request_id, &xml)),
            Err(error) => (error.status, Some(error.code.clone()), answer::failure(service, &request_id, &error)),
        };
        let (account, arn, session) =
            caller.map_or((None, None, None), |caller| (Some(caller.account), Some(caller.arn), caller.session));
        self.journal.add(Entry {
            time: self.clock.now(),
            account,
            arn,
            session,
            access_key_id: scope.as_ref().ok().map(|scope| scope.key_id.clone()),
            region: scope.map(|scope| scope.region).unwrap_or_default(),
            action,
            parameters: params.into_map(),
            status,
            code,
            allowed_by,
            denied,
            faults: verdict.kinds.into_iter().map(str::to_owned).collect(),
            request_id: request_id.clone(),
        });
        let delivery = if verdict.hang.is_some() { Delivery::Nothing } else { verdict.delivery };
        Reply { status, body, request_id, delivery }
    }
}

impl Incoming {
    /// The service that the signature is for; without one, EC2.
    fn service(&self) -> Service {
        self.scope.as_ref().map_or(Service::Ec2, |scope| scope.service)
    }
}
