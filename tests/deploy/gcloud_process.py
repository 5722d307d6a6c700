"""The fake gcloud as a program on the PATH: a process that is real, and an answer from in here."""

import marshal
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.fake_gcloud import Gcloud, HungError, RefusedError

# It starts in 20 ms, and a test starts it twenty times: no site, and no modules but built-in ones.
_PROGRAM = """#!{python} -ISE
import marshal, posix, sys
from _socket import AF_INET, SOCK_STREAM, socket
link = socket(AF_INET, SOCK_STREAM)
link.connect(("127.0.0.1", {port}))
said = marshal.dumps((sys.argv[1:], posix.getcwd(), posix.getpid()))
link.sendall(b"%d\\n" % len(said) + said)
answer = b""
while piece := link.recv(65536):
    answer += piece
code, output, messages = marshal.loads(answer)
sys.stdout.write(output)
sys.stderr.write(messages)
sys.exit(code)
"""


@contextmanager
def installed(gcloud: Gcloud, folder: Path) -> Iterator[Path]:
    """Yield a folder that holds a program `gcloud`, as long as somebody answers it."""

    class Answering(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            arguments, where, pid = marshal.loads(self.rfile.read(int(self.rfile.readline())))  # noqa: S302 - our own program
            code, output, messages = 0, "", ""
            try:
                output = gcloud.call(arguments, Path(where), pid)
            except RefusedError as refusal:
                code, messages = refusal.code, f"ERROR: (gcloud) {refusal}\n"
            except HungError:
                self.rfile.read(1)  # until the program is gone
                return
            self.wfile.write(marshal.dumps((code, output, messages)))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answering) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        folder.mkdir(parents=True, exist_ok=True)
        program = folder / "gcloud"
        program.write_text(_PROGRAM.format(python=sys.executable, port=server.server_address[1]))
        program.chmod(0o755)
        try:
            yield folder
        finally:
            server.shutdown()
            thread.join()
