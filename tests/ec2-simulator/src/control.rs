//! The control API, under `/_simulator/`: JSON in, JSON out.

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

/// What is asked of `accounts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// Whose key; a new account comes into being with its first.
    pub(crate) account: String,
    /// The key's ID; one is made up when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) access_key_id: Option<String>,
}

type Outcome = Result<Value, Error>;

/// Answers one request.
pub(crate) fn answer(
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
        ["accounts", "keys", id] => key(simulator, method, id, None),
        ["accounts", "keys", id, "expire"] => key(simulator, method, id, Some(())),
        ["roles"] => roles(simulator, method, query, body),
        ["policies"] => policies(simulator, method, query, body),
        _ => Err(not_found("there is no such page; the README lists them")),
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
        only(method, &Method::GET)?;
    }
    write(simulator.state().clock.read())
}

/// What is posted is laid over what is there, so that one setting can be changed alone.
fn settings(simulator: &Simulator, method: &Method, body: &[u8]) -> Outcome {
    let mut state = simulator.state();
    if *method == Method::POST {
        let mut all = write(state.world.settings())?;
        lay_over(&mut all, parse(body)?);
        let all: Settings = serde_json::from_value(all).map_err(bad_request)?;
        state.world.set_settings(all);
    } else {
        only(method, &Method::GET)?;
    }
    write(state.world.settings())
}

fn lay_over(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                lay_over(below.entry(name).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
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
            only(method, &Method::GET)?;
            write(simulator.state().faults.list().collect::<Vec<_>>())
        }
    }
}

fn fault(simulator: &Simulator, method: &Method, id: &str) -> Outcome {
    only(method, &Method::DELETE)?;
    let id = id.parse().map_err(bad_request)?;
    found(simulator.remove_fault(Some(id)), "fault")
}

fn journal(simulator: &Simulator, method: &Method, query: &str) -> Outcome {
    let mut state = simulator.state();
    if *method == Method::DELETE {
        state.journal.clear();
        return Ok(json!({}));
    }
    only(method, &Method::GET)?;
    let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let query: Query = serde_json::from_value(write(query)?).map_err(bad_request)?;
    write(state.journal.read(&query))
}

fn state(simulator: &Simulator, method: &Method, body: &[u8]) -> Outcome {
    if *method == Method::PUT {
        let scene: Scene = parse(body)?;
        simulator.load(scene)?;
    } else {
        only(method, &Method::GET)?;
    }
    let state = simulator.state();
    write(state.world.scene(state.clock.now()))
}

fn accounts(simulator: &Simulator, method: &Method, body: &[u8]) -> Outcome {
    let mut state = simulator.state();
    if *method == Method::POST {
        let NewKey { account, access_key_id } = parse(body)?;
        if account.len() != 12 || !account.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(bad_request("an account has twelve digits"));
        }
        let id = access_key_id.unwrap_or_else(|| state.world.mint_key_id());
        let key = AccessKey::of_user(&id, &account);
        state.world.add_key(key.clone());
        return write(key.credentials());
    }
    only(method, &Method::GET)?;
    write(state.world.keys().map(AccessKey::credentials).collect::<Vec<_>>())
}

fn key(simulator: &Simulator, method: &Method, id: &str, expire: Option<()>) -> Outcome {
    let mut state = simulator.state();
    if expire.is_some() {
        only(method, &Method::POST)?;
        let now = state.session_now();
        return found(state.world.expire_key(id, now), "access key");
    }
    only(method, &Method::DELETE)?;
    found(state.world.revoke_key(id), "access key")
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
            let arn = arn.map(|(_, arn)| arn).ok_or_else(|| bad_request("say which: ?arn=…"))?;
            found(state.world.remove_role(&arn), "role")?;
        }
        _ => only(method, &Method::GET)?,
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
            let parameter = |name| parameters.get(name).ok_or_else(|| bad_request("say which: ?principal=…&name=…"));
            let (principal, name) = (parameter("principal")?, parameter("name")?);
            found(state.policies.detach(principal, name), "policy")?;
        }
        _ => only(method, &Method::GET)?,
    }
    write(state.policies.list().collect::<Vec<_>>())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(bad_request)
}

fn write(value: impl Serialize) -> Outcome {
    serde_json::to_value(value).map_err(bad_request)
}

fn only(method: &Method, allowed: &Method) -> Result<(), Error> {
    let refused = || Error::new("MethodNotAllowed", "this page does not take this method").with_status(405);
    (method == allowed).then_some(()).ok_or_else(refused)
}

fn found(found: bool, what: &str) -> Outcome {
    found.then(|| json!({})).ok_or_else(|| not_found(&format!("there is no such {what}")))
}

fn not_found(message: &str) -> Error {
    Error::new("NotFound", message).with_status(404)
}

fn bad_request(error: impl std::fmt::Display) -> Error {
    Error::new("BadRequest", error.to_string())
}
