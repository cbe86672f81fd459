"""Names of files for people and tables: file systems allow bytes that are no UTF-8, terminals and Parquet do not."""


def printable(text: str) -> str:
    """``text`` with every byte that is no UTF-8 written as an escape, such as ``caf\\udce9.png``."""
    return text.encode("utf-8", "backslashreplace").decode()
