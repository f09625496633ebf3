"""`make env`: writes `.env` from `.env.example`, with a random password wherever compose.yaml asks for one.

Passwords that `.env` has already stay as they are.
"""

import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PASSWORD = re.compile(r"(?m)^(DESKBUS_(?:(?:KAFKA|MONGO)_PASSWORD_[A-Z]+|GRAFANA_PASSWORD))=$")


def filled(text: str) -> str:
    """Return the file with a password wherever one is missing. They need no escaping in a connection string."""
    return _PASSWORD.sub(lambda found: f"{found[1]}={secrets.token_urlsafe(24)}", text)


def required(compose: str) -> set[str]:
    """Return the variables without which Compose refuses the file."""
    return set(re.findall(r"\$\{(\w+):\?", compose))


def main() -> int:
    file = ROOT / ".env"
    text = file.read_text("utf-8") if file.exists() else (ROOT / ".env.example").read_text("utf-8")
    lacking = [
        name for name in sorted(required((ROOT / "compose.yaml").read_text("utf-8"))) if f"\n{name}=" not in text
    ]
    text = filled(text.rstrip("\n") + "\n" + "".join(f"{name}=\n" for name in lacking))
    file.touch(mode=0o600)
    file.chmod(0o600)
    file.write_text(text, "utf-8")
    print("wrote .env")
    return 0


if __name__ == "__main__":
    sys.exit(main())
