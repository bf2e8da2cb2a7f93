//! The calls of a plan and those of EC2's journal, in one form.

use anyhow::Result;
use ec2_simulator::journal::{Entry, Query};
use serde_json::{Map, Value, json};

use crate::world::{TEST_SESSION, World};

/// A text without what EC2 and the API server choose: the ID of a connection and the UID.
fn normal(key: &str, value: &str) -> String {
    if value.starts_with("pcx-") {
        return "pcx".to_owned();
    }
    if key.ends_with("uid") { "uid".to_owned() } else { value.to_owned() }
}

/// A call of a plan.
pub fn planned(call: &Value) -> Value {
    let texts = |field: &str| -> Map<String, Value> {
        let texts = call[field].as_object().into_iter().flatten();
        texts
            .map(|(key, value)| (key.clone(), value.as_str().map_or(Value::Null, |text| json!(normal(key, text)))))
            .collect()
    };
    json!({
        "action": call["action"], "account": call["account"], "region": call["region"],
        "parameters": texts("parameters"), "tags": texts("tags"),
    })
}

/// A call of the journal.
pub fn made(entry: &Entry) -> Value {
    let (mut parameters, mut tags) = (Map::new(), Map::new());
    for (name, value) in &entry.parameters {
        if let Some(tag) = name.strip_suffix(".Key").filter(|name| name.contains("Tag.")) {
            let set = entry.parameters.get(&format!("{tag}.Value"));
            tags.insert(value.clone(), set.map_or(Value::Null, |set| json!(normal(value, set))));
        } else if name == "ResourceId.1" {
            parameters.insert("ResourceId".into(), json!(normal("", value)));
        } else if !name.starts_with("Tag") {
            parameters.insert(name.clone(), json!(normal("", value)));
        }
    }
    json!({
        "action": entry.action, "account": entry.account, "region": entry.region,
        "parameters": parameters, "tags": tags,
    })
}

/// The calls of the operator that changed something, in their order.
pub async fn writes(world: &World) -> Result<Vec<Entry>> {
    let is_write = |entry: &Entry| {
        let reads = ["Describe", "Get", "Assume"];
        let is_test = entry.session.as_ref().is_some_and(|session| session.name == TEST_SESSION);
        !reads.iter().any(|read| entry.action.starts_with(read))
            && !entry.parameters.contains_key("DryRun")
            && entry.access_key_id.as_deref() != Some("test")
            && !is_test
    };
    let entries = world.simulator().journal(&Query::default()).await?.entries;
    Ok(entries.into_iter().filter(is_write).collect())
}
