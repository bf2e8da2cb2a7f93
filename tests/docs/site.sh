#!/usr/bin/env bash
# Builds the site into target/docs, and checks the links of the site and of all Markdown files: files, anchors and
# pictures. Links to other hosts are not followed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH=$(tests/docs/mdbook.sh):$(tests/python/venv.sh)/bin:$PATH

# The files of the repository under these paths, also new ones that are not committed.
list() {
    git ls-files -z --cached --others --exclude-standard -- "$@" |
        while IFS= read -r -d '' file; do [[ ! -e $file ]] || printf '%s\0' "$file"; done
}

# Runs a program, and shows its output only if it fails.
quietly() { "$@" >"$book/output.txt" 2>&1 || { cat "$book/output.txt" >&2; exit 1; }; }

# Each example is in the list of examples, and each page of docs/ in the table of contents.
for example in deploy/examples/*.yaml; do
    grep -qF "(../$example)" docs/examples.md || {
        echo "docs/examples.md does not list $example" >&2
        exit 1
    }
done
for page in docs/*.md; do
    page=${page#docs/}
    [[ $page == SUMMARY.md ]] || grep -qF "($page)" docs/SUMMARY.md || {
        echo "docs/SUMMARY.md does not list $page" >&2
        exit 1
    }
done

python tests/docs/plots.py --check

# The book has the same folders as the repository, so that links between pages and to manifests hold in both.
book=target/book
rm -rf "$book" target/docs
mkdir -p "$book/src"
list ':(glob)*.md' ':(glob)tests/**/README.md' docs deploy charts crds LICENSE |
    tar --create --null --files-from=- | tar --extract --directory="$book/src"
sed 's#](#](docs/#; s#](docs/\.\./#](#' docs/SUMMARY.md >"$book/src/SUMMARY.md"
cp docs/book.toml docs/site.css "$book"
mdbook-mermaid install "$book" 2>/dev/null
cmp --silent docs/book.toml "$book/book.toml" || {
    echo "docs/book.toml lacks what mdbook-mermaid needs:" >&2
    diff docs/book.toml "$book/book.toml" >&2
    exit 1
}
quietly mdbook build --dest-dir "$PWD/target/docs" "$book"

# Pages link to folders of manifests, which a web server may not list.
find target/docs/deploy -type d | while read -r folder; do
    title=${folder#target/docs/}
    {
        echo "<!doctype html><meta charset=utf-8><meta name=viewport content=width=device-width>"
        echo "<title>$title</title><style>:root { color-scheme: light dark; font: 16px sans-serif }</style>"
        echo "<h1>$title</h1><ul>"
        for file in "$folder"/*; do
            [[ $file == */index.html ]] || echo "<li><a href=\"${file##*/}\">${file##*/}</a>"
        done
    } >"$folder/index.html"
done

check_links() { quietly lychee --offline --include-fragments --no-progress --format compact "$@"; }
list '*.md' | xargs -0 printf '%s\n' >"$book/pages.txt"
check_links --files-from "$book/pages.txt"
check_links --root-dir "$PWD/target/docs" --index-files index.html "target/docs/**/*.html"
echo "target/docs/index.html: no broken link"
