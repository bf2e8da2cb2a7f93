//! The graph in the DOT language. <https://graphviz.org/doc/info/lang.html>

use std::collections::BTreeMap;
use std::fmt::Write;

use super::model::{Graph, NOTE, OVERLAP_COLOUR, State, has_overlap, printable};

/// Renders the graph.
pub(super) fn render(graph: &Graph) -> String {
    let (overlaps, mut ids) = (graph.overlaps(), BTreeMap::new());
    let mut text = "digraph peerings {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n".to_owned();
    _ = writeln!(text, "  label=\"{}\";", escape(NOTE));
    for (number, group) in graph.groups().iter().enumerate() {
        _ = writeln!(text, "  subgraph cluster_{number} {{\n    label=\"{}\";", escape(&group.title));
        for (key, vpc) in &group.vpcs {
            let id = format!("v{}", ids.len());
            let lines = vpc.lines(key, &overlaps, escape);
            let is_overlap = has_overlap(key, &overlaps);
            let colour = if is_overlap { format!(", color=\"{OVERLAP_COLOUR}\", penwidth=2") } else { String::new() };
            _ = writeln!(text, "    {id} [label=\"{}\"{colour}];", lines.join("\\n"));
            ids.insert(*key, id);
        }
        text += "  }\n";
    }
    for peering in &graph.peerings {
        let (Some(from), Some(to)) = (ids.get(peering.requester.as_str()), ids.get(peering.accepter.as_str())) else {
            continue;
        };
        let label: Vec<_> = peering.label().iter().map(|line| escape(line)).collect();
        let style = if peering.state() == State::Active { "solid" } else { "dashed" };
        let (label, colour) = (label.join("\\n"), peering.state().colour());
        _ = writeln!(text, "  {from} -> {to} [label=\"{label}\", color=\"{colour}\", style={style}];");
    }
    text + "}\n"
}

/// Escapes the content of a quoted string.
fn escape(text: &str) -> String {
    printable(text).replace('\\', r"\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::graph;
    use super::*;

    #[test]
    fn the_digraph_is_a_snapshot() -> std::io::Result<()> {
        crate::cli::snapshots::matches(&render(&graph()), "graph/snapshots/graph.dot")
    }

    #[test]
    fn the_digraph_has_clusters_labels_and_colours() {
        let text = render(&graph());
        for line in [
            "  subgraph cluster_1 {\n    label=\"222222222222 · us-west-2\";",
            r##"    v1 [label="vpc-2\n10.2.0.0/16 overlaps", color="#cf222e", penwidth=2];"##,
            r##"  v0 -> v1 [label="team/pcx-1\npcx-1 active\nno return route from vpc-2", color="#1a7f37", "##,
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn names_cannot_end_a_string() {
        assert_eq!(escape("a\\\"]\n;"), "a\\\\\\\"] ;");
    }
}
