//! The positions of VPCs, groups and labels: a column for each account and region. Pure and deterministic.
//!
//! Layout crates know no groups of nodes, so this is our own.

use std::collections::BTreeMap;

use super::model::Graph;

/// Sizes in pixels.
const NODE_WIDTH: f64 = 200.0;
const NODE_GAP: f64 = 48.0;
const TITLE_HEIGHT: f64 = 34.0;
const GROUP_PADDING: f64 = 16.0;
/// Between two columns, for the labels.
const COLUMN_GAP: f64 = 330.0;
const MARGIN: f64 = 24.0;
pub(super) const LINE_HEIGHT: f64 = 16.0;
/// Width of a letter of the monospaced font at its size.
const LETTER_WIDTH: f64 = 6.7;
/// How far an edge between two VPCs of one column bends to the right.
const BEND: f64 = 90.0;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rect {
    fn overlaps(&self, other: &Self) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }

    fn middle(&self) -> f64 {
        self.y + self.height / 2.0
    }
}

/// A cubic Bézier curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Curve(pub(super) [(f64, f64); 4]);

impl Curve {
    fn at(&self, t: f64) -> (f64, f64) {
        let weights = [(1.0 - t).powi(3), 3.0 * t * (1.0 - t).powi(2), 3.0 * t.powi(2) * (1.0 - t), t.powi(3)];
        let sum = |part: fn(&(f64, f64)) -> f64| {
            weights.iter().zip(&self.0).map(|(weight, point)| weight * part(point)).sum()
        };
        (sum(|point| point.0), sum(|point| point.1))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Edge {
    pub(super) curve: Curve,
    /// The box of the label.
    pub(super) label: Rect,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// In the order of [`Graph::groups`].
    pub(super) groups: Vec<Rect>,
    /// By the key of the VPC.
    pub(super) nodes: BTreeMap<String, Rect>,
    /// In the order of the peerings.
    pub(super) edges: Vec<Option<Edge>>,
}

/// Arranges the graph.
pub(super) fn arrange(graph: &Graph) -> Layout {
    let mut layout = Layout::default();
    let mut columns = BTreeMap::new();
    for (column, group) in graph.groups().iter().enumerate() {
        let x = MARGIN + column as f64 * (NODE_WIDTH + 2.0 * GROUP_PADDING + COLUMN_GAP);
        let mut y = MARGIN + TITLE_HEIGHT;
        for (key, vpc) in ordered(graph, &layout, &group.vpcs) {
            let height = LINE_HEIGHT * (vpc.cidr_blocks.len() as f64 + 1.0) + 14.0;
            layout.nodes.insert(key.to_owned(), Rect { x: x + GROUP_PADDING, y, width: NODE_WIDTH, height });
            columns.insert(key.to_owned(), column);
            y += height + NODE_GAP;
        }
        let height = y - NODE_GAP + GROUP_PADDING - MARGIN;
        layout.groups.push(Rect { x, y: MARGIN, width: NODE_WIDTH + 2.0 * GROUP_PADDING, height });
    }
    let mut labels = Vec::new();
    for peering in &graph.peerings {
        let ends = layout.nodes.get(&peering.requester).zip(layout.nodes.get(&peering.accepter));
        let edge = ends.map(|(from, to)| edge(from, to, &peering.label(), &mut labels));
        layout.edges.push(edge);
    }
    let boxes = layout.groups.iter().chain(&labels);
    let (right, bottom) = boxes.fold((0.0_f64, 0.0_f64), |(right, bottom), one| {
        (right.max(one.x + one.width), bottom.max(one.y + one.height))
    });
    (layout.width, layout.height) = (right + MARGIN, bottom + MARGIN);
    layout
}

/// The VPCs of a column, each near its peers in the columns before.
fn ordered<'a, V>(graph: &Graph, placed: &Layout, vpcs: &[(&'a str, V)]) -> Vec<(&'a str, V)>
where
    V: Copy,
{
    let height = |key: &str| {
        let peers = graph.peerings.iter().filter_map(|peering| match key {
            key if key == peering.requester => Some(&peering.accepter),
            key if key == peering.accepter => Some(&peering.requester),
            _ => None,
        });
        let heights: Vec<_> = peers.filter_map(|peer| placed.nodes.get(peer)).map(Rect::middle).collect();
        if heights.is_empty() { f64::MAX } else { heights.iter().sum::<f64>() / heights.len() as f64 }
    };
    let mut ordered = vpcs.to_vec();
    ordered.sort_by(|one, other| height(one.0).total_cmp(&height(other.0)).then(one.0.cmp(other.0)));
    ordered
}

fn edge(from: &Rect, to: &Rect, lines: &[String], labels: &mut Vec<Rect>) -> Edge {
    let right = |node: &Rect| (node.x + node.width, node.middle());
    let left = |node: &Rect| (node.x, node.middle());
    let (start, end, pull) = if from.x == to.x {
        (right(from), right(to), [BEND, BEND])
    } else if from.x < to.x {
        let pull = (to.x - from.x - from.width) / 2.0;
        (right(from), left(to), [pull, -pull])
    } else {
        let pull = (from.x - to.x - to.width) / 2.0;
        (left(from), right(to), [-pull, pull])
    };
    let curve = Curve([start, (start.0 + pull[0], start.1), (end.0 + pull[1], end.1), end]);
    // The label is in the gap to the right of the left column, where no box covers it.
    let gap = from.x.min(to.x) + NODE_WIDTH + GROUP_PADDING + COLUMN_GAP / 2.0;
    let steps = (0..=100).map(|step| curve.at(f64::from(step) / 100.0));
    let (x, y) = if from.x == to.x {
        (gap, curve.at(0.5).1)
    } else {
        let nearest = steps.min_by(|one, other| (one.0 - gap).abs().total_cmp(&(other.0 - gap).abs()));
        nearest.unwrap_or(start)
    };
    Edge { curve, label: place_label(x, y, lines, labels) }
}

/// A box around the point, below the labels that are there already.
fn place_label(x: f64, y: f64, lines: &[String], labels: &mut Vec<Rect>) -> Rect {
    let letters = lines.iter().map(|line| line.chars().count()).max().unwrap_or_default();
    let (width, height) = (letters as f64 * LETTER_WIDTH + 12.0, lines.len() as f64 * LINE_HEIGHT + 6.0);
    let mut label = Rect { x: x - width / 2.0, y: (y - height / 2.0).max(MARGIN), width, height };
    while let Some(other) = labels.iter().find(|other| other.overlaps(&label)) {
        label.y = other.y + other.height + 4.0;
    }
    labels.push(label);
    label
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::{graph, peering};
    use super::*;

    #[test]
    fn nothing_overlaps_and_everything_is_inside() {
        let mut graph = graph();
        for number in 0..20 {
            let key = format!("vpc-{number:02}");
            graph.add_vpc(&key, Some("333333333333"), Some("eu-west-1"), vec!["10.9.0.0/16".into()]);
            graph.add_peering(peering(&format!("pcx-{key}"), "vpc-1", &key, "active"));
        }
        let layout = arrange(&graph);
        let edges: Vec<_> = layout.edges.iter().flatten().map(|edge| edge.label).collect();
        assert_eq!(edges.len(), graph.peerings.len());
        for boxes in [layout.nodes.values().copied().collect(), edges, layout.groups.clone()] {
            for (number, one) in boxes.iter().enumerate() {
                assert!(one.x >= 0.0 && one.x + one.width <= layout.width && one.y + one.height <= layout.height);
                assert!(!boxes[number + 1..].iter().any(|other| other.overlaps(one)), "{one:?}");
            }
        }
        assert_eq!(arrange(&graph), layout);
    }

    #[test]
    fn a_vpc_is_near_its_peer() {
        let mut graph = graph();
        graph.add_vpc("vpc-0", Some("222222222222"), Some("us-west-2"), Vec::new());
        graph.add_peering(peering("pcx-9", "vpc-2", "vpc-0", "active"));
        let layout = arrange(&graph);
        assert!(layout.nodes["vpc-3"].y < layout.nodes["vpc-0"].y);
    }
}
