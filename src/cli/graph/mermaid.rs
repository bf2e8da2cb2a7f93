//! The graph as a Mermaid flowchart. <https://mermaid.js.org/syntax/flowchart.html>

use std::collections::BTreeMap;
use std::fmt::Write;

use super::model::{Graph, NOTE, OVERLAP_COLOUR, State, has_overlap, printable};

/// Renders the graph.
pub(super) fn render(graph: &Graph) -> String {
    let (overlaps, mut ids, mut text) = (graph.overlaps(), BTreeMap::new(), "flowchart LR\n".to_owned());
    for (number, group) in graph.groups().iter().enumerate() {
        _ = writeln!(text, "  subgraph g{number}[\"{}\"]", escape(&group.title));
        for (key, vpc) in &group.vpcs {
            let id = format!("v{}", ids.len());
            let lines = vpc.lines(key, &overlaps, escape);
            let class = if has_overlap(key, &overlaps) { ":::overlap" } else { "" };
            _ = writeln!(text, "    {id}[\"{}\"]{class}", lines.join("<br/>"));
            ids.insert(*key, id);
        }
        text += "  end\n";
    }
    for (number, peering) in graph.peerings.iter().enumerate() {
        let (Some(from), Some(to)) = (ids.get(peering.requester.as_str()), ids.get(peering.accepter.as_str())) else {
            continue;
        };
        let label: Vec<_> = peering.label().iter().map(|line| escape(line)).collect();
        let dashes = match peering.state() {
            State::Active => "",
            State::Pending | State::Changing | State::Ended | State::Planned => ",stroke-dasharray:5 4",
        };
        _ = writeln!(text, "  {from} -->|\"{}\"| {to}", label.join("<br/>"));
        _ = writeln!(text, "  linkStyle {number} stroke:{},stroke-width:2px{dashes}", peering.state().colour());
    }
    _ = writeln!(text, "  note[\"{}\"]:::note", escape(NOTE));
    _ = writeln!(text, "  classDef overlap stroke:{OVERLAP_COLOUR},stroke-width:3px");
    text + "  classDef note fill:none,stroke-dasharray:2 2\n"
}

/// Replaces every letter that could end a label or begin markup by its number.
/// <https://mermaid.js.org/syntax/flowchart.html#entity-codes-to-escape-characters>
fn escape(text: &str) -> String {
    let escape = |letter: char| match letter {
        letter if letter.is_alphanumeric() || " ._:/=,+@-·".contains(letter) => letter.to_string(),
        letter => format!("#{};", u32::from(letter)),
    };
    printable(text).chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::graph;
    use super::*;

    #[test]
    fn the_flowchart_has_groups_labels_and_colours() {
        let expected = r#"flowchart LR
  subgraph g0["111111111111 · eu-central-1"]
    v0["vpc-1<br/>10.1.0.0/16"]
    v1["vpc-2<br/>10.2.0.0/16 overlaps"]:::overlap
  end
  subgraph g1["222222222222 · us-west-2"]
    v2["vpc-3<br/>10.2.8.0/24 overlaps<br/>fd00::/56"]:::overlap
  end
  v0 -->|"team/pcx-1<br/>pcx-1 active<br/>no return route from vpc-2"| v1
  linkStyle 0 stroke:#1a7f37,stroke-width:2px
  v0 -->|"team/pcx-2<br/>pcx-2 pending-acceptance<br/>expires 1970-01-01 00:00 UTC"| v2
  linkStyle 1 stroke:#9a6700,stroke-width:2px,stroke-dasharray:5 4
  note["VPC peering is not transitive: traffic flows only between two VPCs that have a peering of their own."]:::note
  classDef overlap stroke:#cf222e,stroke-width:3px
  classDef note fill:none,stroke-dasharray:2 2
"#;
        assert_eq!(render(&graph()), expected);
    }

    #[test]
    fn names_cannot_end_a_label() {
        assert_eq!(escape("a\"]\nclick <b>"), "a#34;#93; click #60;b#62;");
    }
}
