//! The control API: JSON requests and responses under `/_simulator/`.

use std::collections::BTreeMap;

use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::Change;
use crate::error::Error;
use crate::faults::Fault;
use crate::iam::Attachment;
use crate::journal::Query;
use crate::simulator::Simulator;
use crate::world::{AccessKey, Role, Scene, Settings, identity};

/// The body of `POST accounts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// The account of the key. The first key of an account creates the account.
    pub(crate) account: String,
    /// The ID of the key. Generated if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) access_key_id: Option<String>,
}

type Outcome = Result<Value, Error>;

/// Handles one request. Returns the HTTP status and the JSON body.
pub(crate) fn handle(
    simulator: &Simulator,
    method: &Method,
    path: &str,
    query: &str,
    body: &[u8],
) -> (StatusCode, String) {
    let outcome = match path.split('/').collect::<Vec<_>>()[..] {
        ["clock"] => clock(simulator, method, body),
        ["settings"] => settings(simulator, method, body),
        ["faults"] => faults(simulator, method, body),
        ["faults", id] => fault(simulator, method, id),
        ["journal"] => journal(simulator, method, query),
        ["state"] => state(simulator, method, body),
        ["accounts"] => accounts(simulator, method, body),
        ["accounts", "keys", id] => delete_key(simulator, method, id),
        ["accounts", "keys", id, "expire"] => expire_key(simulator, method, id),
        ["roles"] => roles(simulator, method, query, body),
        ["policies"] => policies(simulator, method, query, body),
        _ => Err(not_found("unknown path: see \"Control API\" in the README of ec2-simulator")),
    };
    match outcome {
        Ok(json) => (StatusCode::OK, json.to_string()),
        Err(error) => {
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, json!({ "error": error.message }).to_string())
        }
    }
}

fn clock(simulator: &Simulator, method: &Method, body: &[u8]) -> Outcome {
    if *method == Method::POST {
        let change: Change = parse(body)?;
        simulator.state().clock.change(change)?;
    } else {
        require_method(method, &Method::GET)?;
    }
    write(simulator.state().clock.read())
}

/// `POST` merges the body into the current settings, so that a test can change a single setting.
fn settings(simulator: &Simulator, method: &Method, body: &[u8]) -> Outcome {
    let mut state = simulator.state();
    if *method == Method::POST {
        let mut all = write(state.world.settings())?;
        merge(&mut all, parse(body)?);
        let all: Settings = serde_json::from_value(all).map_err(bad_request)?;
        state.world.set_settings(all);
    } else {
        require_method(method, &Method::GET)?;
    }
    write(state.world.settings())
}

fn merge(target: &mut Value, source: Value) {
    match (target, source) {
        (Value::Object(target), Value::Object(source)) => {
            for (name, value) in source {
                merge(target.entry(name).or_insert(Value::Null), value);
            }
        }
        (target, source) => *target = source,
    }
}

fn faults(simulator: &Simulator, method: &Method, body: &[u8]) -> Outcome {
    match *method {
        Method::POST => {
            let fault: Fault = parse(body)?;
            let mut guard = simulator.state();
            let state = &mut *guard;
            let id = state.faults.add(fault, &state.world, state.clock.now())?;
            Ok(json!({ "id": id }))
        }
        Method::DELETE => {
            simulator.remove_fault(None);
            Ok(json!({}))
        }
        _ => {
            require_method(method, &Method::GET)?;
            write(simulator.state().faults.list().collect::<Vec<_>>())
        }
    }
}

fn fault(simulator: &Simulator, method: &Method, id: &str) -> Outcome {
    require_method(method, &Method::DELETE)?;
    let id = id.parse().map_err(bad_request)?;
    found(simulator.remove_fault(Some(id)), "fault")
}

fn journal(simulator: &Simulator, method: &Method, query: &str) -> Outcome {
    let mut state = simulator.state();
    if *method == Method::DELETE {
        let all = state.journal.read(&Query::default());
        state.journal.clear();
        return write(all);
    }
    require_method(method, &Method::GET)?;
    let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let query: Query = serde_json::from_value(write(query)?).map_err(bad_request)?;
    write(state.journal.read(&query))
}

/// `PUT` replaces the world, and `POST` adds resources to it.
fn state(simulator: &Simulator, method: &Method, body: &[u8]) -> Outcome {
    match *method {
        Method::PUT => simulator.load(parse(body)?)?,
        Method::POST => {
            let scene: Scene = parse(body)?;
            if scene.now.is_some() || scene.settings.is_some() || scene.random.is_some() {
                return Err(bad_request("POST state takes resources only: remove now, settings and random"));
            }
            simulator.state().world.add(scene)?;
        }
        _ => require_method(method, &Method::GET)?,
    }
    let state = simulator.state();
    write(state.world.scene(state.clock.now()))
}

fn accounts(simulator: &Simulator, method: &Method, body: &[u8]) -> Outcome {
    let mut state = simulator.state();
    if *method == Method::POST {
        let NewKey { account, access_key_id } = parse(body)?;
        if account.len() != 12 || !account.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(bad_request("account must have twelve digits"));
        }
        let id = access_key_id.unwrap_or_else(|| state.world.generate_key_id());
        let key = AccessKey::of_user(&id, &account);
        state.world.add_key(key.clone());
        return write(key.credentials());
    }
    require_method(method, &Method::GET)?;
    write(state.world.keys().map(AccessKey::credentials).collect::<Vec<_>>())
}

fn expire_key(simulator: &Simulator, method: &Method, id: &str) -> Outcome {
    require_method(method, &Method::POST)?;
    let mut state = simulator.state();
    let now = state.session_now();
    found(state.world.expire_key(id, now), "access key")
}

fn delete_key(simulator: &Simulator, method: &Method, id: &str) -> Outcome {
    require_method(method, &Method::DELETE)?;
    found(simulator.state().world.revoke_key(id), "access key")
}

fn roles(simulator: &Simulator, method: &Method, query: &str, body: &[u8]) -> Outcome {
    let mut state = simulator.state();
    match *method {
        Method::POST => {
            let role: Role = parse(body)?;
            state.world.put_role(role)?;
        }
        Method::DELETE => {
            let arn = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "arn");
            let arn = arn.map(|(_, arn)| arn).ok_or_else(|| bad_request("the query parameter arn is missing"))?;
            found(state.world.remove_role(&arn), "role")?;
        }
        _ => require_method(method, &Method::GET)?,
    }
    write(state.world.roles().collect::<Vec<&identity::Role>>())
}

fn policies(simulator: &Simulator, method: &Method, query: &str, body: &[u8]) -> Outcome {
    let mut state = simulator.state();
    match *method {
        Method::POST => {
            let attachment: Attachment = parse(body)?;
            state.policies.attach(attachment).map_err(bad_request)?;
        }
        Method::DELETE => {
            let parameters: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            let parameter = |name: &str| {
                parameters.get(name).ok_or_else(|| bad_request(format!("the query parameter {name} is missing")))
            };
            let (principal, name) = (parameter("principal")?, parameter("name")?);
            found(state.policies.detach(principal, name), "policy")?;
        }
        _ => require_method(method, &Method::GET)?,
    }
    write(state.policies.list().collect::<Vec<_>>())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(bad_request)
}

fn write(value: impl Serialize) -> Outcome {
    serde_json::to_value(value).map_err(bad_request)
}

fn require_method(method: &Method, allowed: &Method) -> Result<(), Error> {
    let refused = || {
        Error::new("MethodNotAllowed", format!("{method} is not allowed for this path; use {allowed}")).with_status(405)
    };
    (method == allowed).then_some(()).ok_or_else(refused)
}

fn found(found: bool, kind: &str) -> Outcome {
    found.then(|| json!({})).ok_or_else(|| not_found(&format!("the {kind} does not exist")))
}

fn not_found(message: &str) -> Error {
    Error::new("NotFound", message).with_status(404)
}

fn bad_request(error: impl std::fmt::Display) -> Error {
    Error::new("BadRequest", error.to_string())
}
