"""For ``make docs``: what lies outside of docs/ comes into the site, and the pages are listed as docs/README.md lists them."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PICTURE = "tests/benchmarks/availability.png"
STYLE = ".wy-table-responsive table td, .wy-table-responsive table th { white-space: normal }"  # the theme cuts long cells off


def on_config(config):
    """The headings and tables of the list of pages, as the navigation."""
    pages = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    config["nav"] = [{"rapidfailover": "start.md"}, {"All pages": "README.md"}]
    for part in pages.split("\n## ")[1:]:
        config["nav"].append({part.split("\n")[0]: [{title: page} for title, page in re.findall(r"^\| \[(.+?)\]\((.+?)\)", part, re.MULTILINE)]})
    config["nav"].append({"Changes": "changes.md"})
    config["extra_css"] = [*config.get("extra_css", []), "tables.css"]
    return config


def on_files(files, config):
    """README and changes are pages too, and the picture is there."""
    from mkdocs.structure.files import File  # here: the tests do without mkdocs
    for path, name in (("README.md", "start.md"), ("CHANGELOG.md", "changes.md")):
        files.append(File.generated(config, name, content=moved((ROOT / path).read_text(encoding="utf-8"))))
    files.append(File.generated(config, "availability.png", abs_src_path=str(ROOT / PICTURE)))
    files.append(File.generated(config, "tables.css", content=STYLE))
    return files


def moved(text):
    """A page of the project's folder, from within docs/."""
    text = text.replace("](docs/", "](").replace(f"]({PICTURE})", "](availability.png)")
    return text.replace("](CHANGELOG.md)", "](changes.md)")


def on_page_markdown(markdown, page=None, config=None, files=None):
    """Links to the project's other files are their names."""
    markdown = markdown.replace("](../README.md)", "](start.md)").replace("](../CHANGELOG.md)", "](changes.md)")
    markdown = markdown.replace(f"](../{PICTURE})", "](availability.png)")
    return re.sub(r"\[([^]]*)\]\((?:\.\./|LICENSE)[^)]*\)", r"\1", markdown)
