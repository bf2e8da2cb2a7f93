//! The simulator: the world, its clock, faults, policies and journal, and the steps of one call. HTTP is in `server`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::actions::{Action, Context};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::faults::{Delivery, Effects, Faults};
use crate::iam::{self, Decision, Policies};
use crate::journal::{Entry, Journal};
use crate::protocol::signature::Scope;
use crate::protocol::{Content, Params, answer};
use crate::random::Random;
use crate::throttle::Throttle;
use crate::world::identity::Service;
use crate::world::settings::SessionClock;
use crate::world::{Call, Caller, Location, Scene, Settings, World};

/// A simulated EC2 and STS with all accounts and regions.
#[derive(Debug)]
pub struct Simulator {
    state: Mutex<State>,
    seed: u64,
    /// Signals each removal of a fault to the calls that wait for it.
    fault_removed: watch::Sender<()>,
}

/// The mutable state, behind one lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) world: World,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) journal: Journal,
    pub(crate) policies: Policies,
    throttle: Throttle,
    /// Separate from the generator of the world, so that a read does not change the IDs of later resources.
    request_ids: Random,
    /// Generates the encoded messages of denied calls. Separate for the same reason.
    encoded_messages: Random,
}

/// The parts of an HTTP request that a call consists of.
#[derive(Clone, Debug, Default)]
pub(crate) struct HttpRequest {
    /// The query string and the form.
    pub(crate) params: Params,
    pub(crate) authorization: Option<String>,
    /// The `X-Amz-Security-Token` header.
    pub(crate) security_token: Option<String>,
}

/// The HTTP response of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpReply {
    pub(crate) status: u16,
    pub(crate) media_type: &'static str,
    pub(crate) body: String,
    pub(crate) request_id: String,
    pub(crate) delivery: Delivery,
}

/// A call between its receipt and its response.
struct IncomingCall {
    params: Params,
    action: String,
    scope: Result<Scope>,
    token: Option<String>,
    request_id: String,
    /// The policy statements that allowed the call, as `POLICY/SID`.
    allowed_by: Vec<String>,
    /// The reason if a policy denied the call.
    denied: Option<String>,
}

impl Simulator {
    /// Creates a simulator that has the default access key and nothing else.
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
            encoded_messages: Random::new(seed.rotate_left(32)),
        };
        Self { state: Mutex::new(state), seed, fault_removed: watch::Sender::new(()) }
    }

    /// Replaces the world, and sets the clock if the scene has a time. Faults, policies and journal stay.
    ///
    /// # Errors
    /// If the scene is invalid.
    pub fn load(&self, scene: Scene) -> Result<()> {
        let now = scene.now;
        let mut state = self.state();
        state.world = World::from_scene(scene, state.world.settings().clone(), self.seed)?;
        if let Some(now) = now {
            state.clock = Clock::new(now, state.clock.read().factor);
        }
        Ok(())
    }

    /// Locks the state after applying all transitions that are due.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic in one call is a bug of the simulator, and must not fail all later calls.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state.clock.now();
        state.world.advance(now);
        state
    }

    /// Removes one fault, or all, and wakes the calls that wait for it. Returns whether a fault was removed.
    pub(crate) fn remove_fault(&self, id: Option<u64>) -> bool {
        let removed = self.state().faults.remove(id);
        self.fault_removed.send_replace(());
        removed
    }

    /// Handles a call.
    pub(crate) async fn handle(&self, request: HttpRequest) -> HttpReply {
        let (incoming, effects) = self.receive(request);
        for gate in &effects.gates {
            self.removal_of(*gate).await;
        }
        if !effects.latency.is_zero() {
            tokio::time::sleep(effects.latency).await;
        }
        if let Some(hang) = effects.hang {
            self.removal_of(hang).await;
            // The caller gets no response, so the journal shows neither a code nor a status.
            let nothing = Error::new("", "").with_status(0);
            return self.state().finish(incoming, None, Err(nothing), effects);
        }
        self.state().perform(incoming, effects)
    }

    /// Parses the signature and the action, and determines the effects of the faults in force.
    fn receive(&self, request: HttpRequest) -> (IncomingCall, Effects) {
        let mut params = request.params;
        let action = params.take("Action").unwrap_or_default();
        params.take("Version");
        let presigned = params.take("X-Amz-Credential");
        let token = request.security_token.or_else(|| params.take("X-Amz-Security-Token"));
        for unused in ["X-Amz-Algorithm", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"] {
            params.take(unused);
        }
        let scope = match (&request.authorization, presigned) {
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
        let incoming = IncomingCall { params, action, scope, token, request_id, allowed_by: Vec::new(), denied: None };
        let effects = match (state.caller(&incoming), &incoming.scope) {
            (Ok(caller), Ok(scope)) => {
                state.faults.effects_on(scope.service, &incoming.action, &caller, &scope.region, now)
            }
            (Err(_), _) | (_, Err(_)) => Effects::default(),
        };
        (incoming, effects)
    }

    /// Waits until a fault is removed.
    async fn removal_of(&self, fault: u64) {
        let mut removed = self.fault_removed.subscribe();
        while self.state().faults.contains(fault) && removed.changed().await.is_ok() {}
    }
}

impl State {
    /// The time against which session expiry is checked.
    pub(crate) fn session_now(&self) -> Timestamp {
        match self.world.settings().session_clock {
            SessionClock::Machine => Timestamp::now(),
            SessionClock::Simulator => self.clock.now(),
        }
    }

    fn caller(&self, incoming: &IncomingCall) -> Result<Caller> {
        let scope = incoming.scope.clone()?;
        let now = self.session_now();
        let place = (scope.service, scope.region.as_str());
        self.world.authenticate(place, &scope.key_id, incoming.token.as_deref(), now).cloned()
    }

    fn perform(&mut self, mut incoming: IncomingCall, effects: Effects) -> HttpReply {
        let parameters = incoming.params.clone();
        let caller = self.caller(&incoming);
        let result = match (&caller, &incoming.scope.clone()) {
            (Ok(caller), Ok(scope)) => {
                let location = Location::new(&caller.account, &scope.region);
                self.run_action(&mut incoming, caller, &location, &effects)
            }
            (Err(error), _) | (_, Err(error)) => Err(error.clone()),
        };
        incoming.params = parameters;
        self.finish(incoming, caller.ok(), result, effects)
    }

    fn run_action(
        &mut self,
        incoming: &mut IncomingCall,
        caller: &Caller,
        location: &Location,
        effects: &Effects,
    ) -> Result<Content> {
        if incoming.action.is_empty() {
            return Err(Error::new("MissingAction", "The request must contain the parameter Action"));
        }
        let action = Action::find(incoming.service(), &incoming.action)?;
        let now = self.clock.now();
        if action.service == Service::Ec2
            && let Some(throttling) = &self.world.settings().throttling
        {
            let bucket = if action.is_mutating { throttling.mutating } else { throttling.non_mutating };
            if !self.throttle.admit(location, action.name, bucket, now) {
                return Err(Error::throttled(action.service));
            }
        }
        if let Some(error) = &effects.error {
            return Err(error.clone());
        }
        self.authorize(&action, incoming, caller, location)?;
        let mut params = std::mem::take(&mut incoming.params);
        let dry_run = params.parsed("DryRun")?.unwrap_or_default();
        let session_now = self.session_now();
        let context = |now| Context { caller, call: Call { location: location.clone(), now, dry_run }, session_now };
        match effects.stale.and_then(|fault| self.faults.snapshot(fault)) {
            Some((snapshot, then)) => action.run(params, snapshot, &context(then)),
            None => action.run(params, &mut self.world, &context(now)),
        }
    }

    /// Evaluates the policies. A dry run reports denials too. AWS does not document whether it checks permissions or
    /// existence first. The simulator checks existence first and returns NotFound.
    fn authorize(
        &mut self,
        action: &Action,
        incoming: &mut IncomingCall,
        caller: &Caller,
        location: &Location,
    ) -> Result<()> {
        if self.policies.is_empty() {
            return Ok(());
        }
        let call = Call { location: location.clone(), now: self.clock.now(), dry_run: false };
        let key_id = incoming.scope.as_ref().map(|scope| scope.key_id.as_str()).unwrap_or_default();
        let (service, params) = (action.service, incoming.params.clone());
        for request in iam::authorization_requests(&self.world, &call, caller, service, action.name, params) {
            for decision in
                [self.policies.decide(key_id, caller, &request), self.policies.decide_trust(caller, &request)]
            {
                match decision {
                    Decision::Allowed(by) => incoming.allowed_by.extend(by),
                    Decision::Denied(reason) => {
                        let (user, action, resource) = (&caller.arn, &request.action, &request.resource);
                        let reason = format!(
                            "User: {user} is not authorized to perform: {action} on resource: {resource} {reason}"
                        );
                        let encoded: String =
                            (0..16).map(|_| format!("{:016x}", self.encoded_messages.next_u64())).collect();
                        incoming.allowed_by.clear();
                        incoming.denied = Some(reason.clone());
                        return Err(Error::denied(service, &reason, &encoded));
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds the call to the journal and writes the response.
    fn finish(
        &mut self,
        incoming: IncomingCall,
        caller: Option<Caller>,
        result: Result<Content>,
        effects: Effects,
    ) -> HttpReply {
        let service = incoming.service();
        let IncomingCall { params, action, scope, request_id, allowed_by, denied, .. } = incoming;
        let (status, code, body) = match result {
            Ok(content) => (200, None, answer::success(service, &action, &request_id, &content)),
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
            faults: effects.kinds.into_iter().map(str::to_owned).collect(),
            request_id: request_id.clone(),
        });
        let delivery = if effects.hang.is_some() { Delivery::Nothing } else { effects.delivery };
        HttpReply { status, media_type: answer::media_type(service), body, request_id, delivery }
    }
}

impl IncomingCall {
    /// The service that the signature names. EC2 if there is no signature.
    fn service(&self) -> Service {
        self.scope.as_ref().map_or(Service::Ec2, |scope| scope.service)
    }
}
