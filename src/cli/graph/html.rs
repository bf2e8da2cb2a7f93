//! The graph as one HTML page, with pan, zoom and search. It loads nothing from elsewhere.

use super::model::Graph;
use super::svg;

const PAGE: &str = include_str!("page.html");

/// Renders the graph.
pub(super) fn render(graph: &Graph) -> String {
    PAGE.replace("<!--IMAGE-->", &svg::render(graph))
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::graph;
    use super::*;

    #[test]
    fn the_page_contains_the_image_and_loads_nothing() {
        let page = render(&graph());
        assert!(page.contains("<svg xmlns=") && page.contains("team/pcx-1"));
        assert!(page.contains("default-src 'none'"));
        let without_namespace = page.replace("http://www.w3.org/2000/svg", "");
        for loading in ["http://", "https://", "src=", "href=", "@import", "url("] {
            assert!(!without_namespace.contains(loading), "{loading}");
        }
    }
}
