"""Puts a table into a page, between the marks of its place."""


def publish(text, page, name):
    """Replaces what stands between the marks."""
    begin, end = f"<!-- {name} of bench/run -->", f"<!-- end of {name} -->"
    before, rest = page.read_text().split(begin)
    page.write_text(f"{before}{begin}\n{text}{end}{rest.split(end)[1]}")
