"""Write schemas and tables of the documentation anew: python -m recondoor.records."""

from recondoor.records._schemas import kept

if __name__ == "__main__":
    for path, content in kept().items():
        path.write_text(content, encoding="utf-8")
