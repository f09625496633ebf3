"""The command line of the local stack: `python -m deploy.local up|down|status|env|fetch|build`."""

import argparse
import sys

from deploy.local import jars, mongo
from deploy.local.process import LocalError
from deploy.local.stack import chosen, stacks


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description="A local Kafka and MongoDB.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in {
        "up": "start the servers that the environment does not name, and wait until they are ready",
        "down": "stop the servers that `up` started; data stays under .local/",
        "status": "show which servers are ready, and their addresses",
        "env": 'print the addresses for a shell: eval "$(python -m deploy.local env)"',
        "fetch": "only download the servers",
        "build": "build the fast MongoDB-compatible server with cargo (takes minutes); it is used from then on",
    }.items():
        commands.add_parser(name, help=text, description=text)
    command = parser.parse_args().command
    try:
        _run(command)
    except LocalError as error:
        print(f"deploy.local: {error}", file=sys.stderr)
        return 1
    return 0


def _run(command: str) -> None:
    match command:
        case "build":
            print(mongo.secantus())
        case "fetch":
            jars.fetch()
            {"mongod": lambda: None, "secantus": mongo.secantus, "pip": mongo.pip_server}[mongo.choose()]()
        case "env":
            for name, value in chosen().addresses().environment().items():
                print(f"export {name}='{value}'")
        case "down":
            for each in stacks().values():
                each.down()
        case "status" | "up":
            stack = chosen(outlives=True)
            if command == "up":
                stack.up()
            print("\n".join(stack.status()))


if __name__ == "__main__":
    sys.exit(main())
