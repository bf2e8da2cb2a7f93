//! The graph as an SVG image, for light and dark backgrounds.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::layout::{self, Edge, LINE_HEIGHT, Layout, Rect};
use super::model::{Graph, NOTE, Peering, State, Vpc, has_overlap, printable};

/// Height of the legend in pixels.
const LEGEND_HEIGHT: f64 = 64.0;

/// Width of the note in pixels.
const NOTE_WIDTH: f64 = 740.0;

const STYLE: &str = "
svg{--back:#fff;--text:#1f2328;--faint:#59636e;--group:#f6f8fa;--line:#d0d7de;--active:#1a7f37;--pending:#9a6700;\
--changing:#0969da;--ended:#6e7781;--planned:#8250df;--bad:#cf222e;background:var(--back);\
font:11px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
@media (prefers-color-scheme:dark){svg{--back:#0d1117;--text:#e6edf3;--faint:#9198a1;--group:#161b22;--line:#3d444d;\
--active:#3fb950;--pending:#d29922;--changing:#58a6ff;--ended:#8b949e;--planned:#a371f7;--bad:#ff7b72}}
text{fill:var(--text)}.group>rect{fill:var(--group);stroke:var(--line)}.group>text{fill:var(--faint);font-weight:600}
.vpc>rect{fill:var(--back);stroke:var(--line);stroke-width:1.5}.vpc .id{font-weight:600}
.vpc.overlap>rect{stroke:var(--bad)}.bad{fill:var(--bad);font-weight:600}.faint{fill:var(--faint)}
.edge path,.legend path{fill:none;stroke-width:2;stroke:var(--state)}.edge rect{fill:var(--back);stroke:var(--state)}
.active{--state:var(--active)}.pending{--state:var(--pending)}.changing{--state:var(--changing)}
.ended{--state:var(--ended)}.planned{--state:var(--planned)}
.pending path,.changing path{stroke-dasharray:7 4}.ended path,.planned path{stroke-dasharray:2 4}
";

/// Renders the graph as a document of its own.
pub(super) fn render(graph: &Graph) -> String {
    let layout = layout::arrange(graph);
    let overlaps = graph.overlaps();
    let (width, height) = (layout.width.max(NOTE_WIDTH), layout.height + LEGEND_HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"VPC peerings\">\n<style>{STYLE}</style>\n"
    );
    groups(&mut svg, graph, &layout);
    for (peering, edge) in graph.peerings.iter().zip(&layout.edges) {
        if let Some(edge) = edge {
            line(&mut svg, peering, edge);
        }
    }
    for (key, vpc) in &graph.vpcs {
        if let Some(rect) = layout.nodes.get(key) {
            node(&mut svg, key, vpc, rect, &overlaps);
        }
    }
    for (peering, edge) in graph.peerings.iter().zip(&layout.edges) {
        if let Some(edge) = edge {
            label(&mut svg, peering, edge);
        }
    }
    legend(&mut svg, layout.height);
    svg + "</svg>\n"
}

fn groups(svg: &mut String, graph: &Graph, layout: &Layout) {
    for (group, rect) in graph.groups().iter().zip(&layout.groups) {
        let (x, y) = (rect.x + 16.0, rect.y + 22.0);
        let title = escape(&group.title);
        _ = writeln!(svg, "<g class=\"group\">{}<text x=\"{x:.1}\" y=\"{y:.1}\">{title}</text></g>", shape(rect, 8));
    }
}

fn line(svg: &mut String, peering: &Peering, edge: &Edge) {
    let state = peering.state().name();
    let point = |(x, y): &(f64, f64)| format!("{x:.1} {y:.1}");
    let [start, curves @ ..] = &edge.path;
    let curves: Vec<_> = curves.iter().map(point).collect();
    let (path, title) = (format!("M{}C{}", point(start), curves.join(" ")), escape(&peering.label().join(" ")));
    _ = writeln!(svg, "<g class=\"edge item {state}\"><title>{title}</title><path d=\"{path}\"/></g>");
}

fn node(svg: &mut String, key: &str, vpc: &Vpc, rect: &Rect, overlaps: &BTreeSet<(&str, &str)>) {
    let class = if has_overlap(key, overlaps) { "vpc item overlap" } else { "vpc item" };
    let (x, mut y) = (rect.x + 12.0, rect.y + 19.0);
    _ = write!(svg, "<g class=\"{class}\">{}<text class=\"id\" x=\"{x:.1}\" y=\"{y:.1}\">", shape(rect, 6));
    _ = write!(svg, "{}</text>", escape(&short(key)));
    for block in &vpc.cidr_blocks {
        y += LINE_HEIGHT;
        let is_overlap = overlaps.contains(&(key, block.as_str()));
        let (class, note) = if is_overlap { ("bad", " overlaps") } else { ("faint", "") };
        _ = write!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}{note}</text>", escape(block));
    }
    let title = [vpc.account.as_deref(), vpc.region.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ");
    _ = writeln!(svg, "<title>{} {}</title></g>", escape(key), escape(&title));
}

fn label(svg: &mut String, peering: &Peering, edge: &Edge) {
    let (rect, lines) = (&edge.label, peering.label());
    let (x, mut y) = (rect.x + 6.0, rect.y + 2.0);
    _ = write!(svg, "<g class=\"edge item {}\">{}", peering.state().name(), shape(rect, 4));
    let missing = peering.missing_routes();
    for text in &lines {
        y += LINE_HEIGHT;
        let class = if missing.as_ref() == Some(text) { " class=\"bad\"" } else { "" };
        _ = write!(svg, "<text{class} x=\"{x:.1}\" y=\"{:.1}\">{}</text>", y - 3.0, escape(text));
    }
    let (from, to) = (escape(&peering.requester), escape(&peering.accepter));
    _ = writeln!(svg, "<title>{from} → {to}</title></g>");
}

fn legend(svg: &mut String, y: f64) {
    *svg += "<g class=\"legend\">";
    for (number, state) in State::ALL.into_iter().enumerate() {
        let (x, name) = (24.0 + number as f64 * 110.0, state.name());
        let (y, text) = (y + 8.0, y + 12.0);
        _ = write!(svg, "<g class=\"{name}\"><path d=\"M{x:.0} {y:.1}h28\"/>");
        _ = write!(svg, "<text x=\"{:.0}\" y=\"{text:.1}\">{name}</text></g>", x + 36.0);
    }
    let (overlap, note) = (24.0 + State::ALL.len() as f64 * 110.0, y + 36.0);
    _ = write!(svg, "<text class=\"bad\" x=\"{overlap:.0}\" y=\"{:.1}\">overlap</text>", y + 12.0);
    _ = writeln!(svg, "<text class=\"faint\" x=\"24\" y=\"{note:.1}\">{}</text></g>", escape(NOTE));
}

fn shape(rect: &Rect, radius: u8) -> String {
    let Rect { x, y, width, height } = rect;
    format!("<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{radius}\"/>")
}

/// Text that fits into the box of a VPC. Its title has the whole text.
fn short(text: &str) -> String {
    const LETTERS: usize = 26;
    if text.chars().count() <= LETTERS {
        return text.to_owned();
    }
    text.chars().take(LETTERS - 1).chain(['…']).collect()
}

/// Escapes text and attribute values of XML and HTML.
pub(super) fn escape(text: &str) -> String {
    let text = printable(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;
    use quick_xml::events::Event;

    use super::super::model::tests::graph;
    use super::*;

    /// Fails if it is not well-formed. Returns the texts of the elements.
    pub(crate) fn texts(svg: &str) -> Vec<String> {
        let (mut reader, mut texts) = (Reader::from_str(svg), vec![String::new()]);
        loop {
            match reader.read_event() {
                Ok(Event::Eof) => return texts,
                Ok(Event::Start(_) | Event::End(_)) => texts.push(String::new()),
                Ok(Event::Text(text)) => {
                    let text = text.into_inner().into_owned();
                    texts.last_mut().into_iter().for_each(|last| last.push_str(&text));
                }
                Ok(_) => {}
                Err(error) => panic!("{error}: {svg}"),
            }
        }
    }

    #[test]
    fn the_image_is_a_snapshot() -> std::io::Result<()> {
        crate::cli::snapshots::matches(&render(&graph()), "graph/snapshots/graph.svg")
    }

    #[test]
    fn the_image_has_every_label_and_marks_problems() {
        let svg = render(&graph());
        let texts = texts(&svg);
        for text in ["vpc-1", "fd00::/56", "111111111111 · eu-central-1", "expires 1970-01-01 00:00 UTC", NOTE] {
            assert!(texts.iter().any(|found| found == text), "{text}: {texts:?}");
        }
        assert!(svg.contains("class=\"bad\"") && svg.contains(">no return route from vpc-2</text>"));
        assert!(svg.contains(">10.2.0.0/16 overlaps</text>"));
        assert_eq!(svg.matches("class=\"vpc item overlap\"").count(), 2);
    }

    #[test]
    fn names_cannot_become_markup() {
        let mut graph = graph();
        graph.peerings[0].resources.insert("</text><script>alert(1)</script>\u{0}".to_owned());
        graph.add_vpc("\"><image href='http://x'/>", None, None, Vec::new());
        let svg = render(&graph);
        texts(&svg);
        assert!(!svg.contains("<script") && !svg.contains("<image"));
        assert!(svg.contains("&lt;/text&gt;&lt;script&gt;"));
    }
}
