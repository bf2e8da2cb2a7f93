//! The positions of VPCs, groups and labels: a column for each account and region. Pure and deterministic.
//!
//! The pure-Rust layout crates do not support groups of nodes, so this layout is our own.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::model::{Graph, Peering};

/// Sizes in pixels.
const NODE_WIDTH: f64 = 200.0;
const NODE_GAP: f64 = 72.0;
const TITLE_HEIGHT: f64 = 34.0;
const GROUP_PADDING: f64 = 16.0;
/// Between two columns, for the labels.
const COLUMN_GAP: f64 = 380.0;
const MARGIN: f64 = 24.0;
pub(super) const LINE_HEIGHT: f64 = 16.0;
/// Width of a letter of the monospaced font at its size.
const LETTER_WIDTH: f64 = 6.7;
/// Between two labels.
const LABEL_GAP: f64 = 6.0;

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

/// The points of a path: the start, and three for each of two cubic Bézier curves. The label is between the curves.
pub(super) type Path = [(f64, f64); 7];

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Edge {
    pub(super) path: Path,
    /// The box of the label, through whose middle the path leads.
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
    layout.edges = edges(graph, &layout.nodes);
    let labels = layout.edges.iter().flatten().map(|edge| &edge.label);
    let boxes = layout.groups.iter().chain(labels);
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
    let mut ordered: Vec<_> = vpcs.iter().map(|vpc| (height(vpc.0), *vpc)).collect();
    ordered.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.0.cmp(other.1.0)));
    ordered.into_iter().map(|(_, vpc)| vpc).collect()
}

/// The edges, in the order of the peerings. Labels are placed from the top to the bottom, so that few lines cross.
fn edges(graph: &Graph, nodes: &BTreeMap<String, Rect>) -> Vec<Option<Edge>> {
    let mut degrees = BTreeMap::<&str, usize>::new();
    for key in graph.peerings.iter().flat_map(|peering| [&peering.requester, &peering.accepter]) {
        *degrees.entry(key).or_default() += 1;
    }
    let mut labels: Vec<_> = graph
        .peerings
        .iter()
        .enumerate()
        .filter_map(|(number, peering)| {
            let (from, to) = (nodes.get(&peering.requester)?, nodes.get(&peering.accepter)?);
            let (left, right) = if from.x <= to.x { (from, to) } else { (to, from) };
            // Near the VPC with fewer peerings, so that the labels of a hub are spread.
            let [one, other] = [&peering.requester, &peering.accepter].map(|key| degrees.get(key.as_str()));
            let (of_left, of_right) = if from.x <= to.x { (one, other) } else { (other, one) };
            Some((number, label(left, right, of_left <= of_right, &peering.label())))
        })
        .collect();
    labels.sort_by(|one, other| one.1.middle().total_cmp(&other.1.middle()).then(one.0.cmp(&other.0)));
    let (mut placed, mut ports) = (Vec::<Rect>::new(), BTreeMap::<_, Vec<usize>>::new());
    for (number, label) in &mut labels {
        while let Some(other) = placed.iter().find(|other| other.overlaps(label)) {
            label.y = other.y + other.height + LABEL_GAP;
        }
        placed.push(*label);
        for port in ports_of(&graph.peerings[*number], nodes) {
            ports.entry(port).or_default().push(*number);
        }
    }
    let mut edges = vec![None; graph.peerings.len()];
    for (number, label) in labels {
        let points = ports_of(&graph.peerings[number], nodes).map(|(key, side)| {
            let node = nodes.get(key).copied().unwrap_or_default();
            let all = ports.get(&(key, side)).map_or(&[][..], Vec::as_slice);
            let position = all.iter().position(|other| *other == number).unwrap_or_default();
            let x = if side == RIGHT { node.x + node.width } else { node.x };
            (x, node.y + node.height * (position as f64 + 1.0) / (all.len() as f64 + 1.0))
        });
        edges[number] = Some(Edge { path: path(points, &label), label });
    }
    edges
}

const RIGHT: bool = true;
const LEFT: bool = false;

/// The VPC and its side at which the edge begins and ends.
fn ports_of<'a>(peering: &'a Peering, nodes: &BTreeMap<String, Rect>) -> [(&'a str, bool); 2] {
    let x = |key: &str| nodes.get(key).map_or(0.0, |node| node.x);
    let (from, to) = (peering.requester.as_str(), peering.accepter.as_str());
    match x(from).total_cmp(&x(to)) {
        Ordering::Less => [(from, RIGHT), (to, LEFT)],
        Ordering::Greater => [(from, LEFT), (to, RIGHT)],
        Ordering::Equal => [(from, RIGHT), (to, RIGHT)],
    }
}

/// The best box of a label: on the line, and in the gap beside one of its columns, where no VPC covers it.
fn label(left: &Rect, right: &Rect, is_near_left: bool, lines: &[String]) -> Rect {
    let letters = lines.iter().map(|line| line.chars().count()).max().unwrap_or_default();
    let (width, height) = (letters as f64 * LETTER_WIDTH + 12.0, lines.len() as f64 * LINE_HEIGHT + 6.0);
    let edge = left.x + NODE_WIDTH + GROUP_PADDING;
    let columns = (right.x - left.x) / (NODE_WIDTH + 2.0 * GROUP_PADDING + COLUMN_GAP);
    let (x, part) = match columns {
        // A line between two VPCs of one column stays near it.
        0.0 => (edge + LABEL_GAP + width / 2.0, 0.5),
        columns if is_near_left => (edge + COLUMN_GAP / 2.0, 0.5 / columns),
        columns => (right.x - GROUP_PADDING - COLUMN_GAP / 2.0, 1.0 - 0.5 / columns),
    };
    let y = left.middle() + (right.middle() - left.middle()) * part;
    Rect { x: x - width / 2.0, y: (y - height / 2.0).max(MARGIN), width, height }
}

/// From one VPC through the middle of the label to the other.
fn path([start, end]: [(f64, f64); 2], label: &Rect) -> Path {
    let middle = (label.x + label.width / 2.0, label.middle());
    if start.0 == end.0 {
        let (above, below) = ((middle.0, start.1), (middle.0, end.1));
        return [start, above, above, middle, below, below, end];
    }
    let (one, other) = ((start.0 + middle.0) / 2.0, (middle.0 + end.0) / 2.0);
    [start, (one, start.1), (one, middle.1), middle, (other, middle.1), (other, end.1), end]
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
