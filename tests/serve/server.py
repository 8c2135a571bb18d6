"""A klinear server over a small random model, for tests: started, asked, stopped."""
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse


class Server:
    """Runs PROGRAM serve with the options given; to be used in a with statement."""

    def __init__(self, program, *options, model=None, environment=None):
        self.program = program
        self.environment = dict(os.environ, **(environment or {}))
        self.options = list(options)
        self.folder = tempfile.TemporaryDirectory()
        self.model = model or make_model(program, self.folder.name)

    def __enter__(self):
        self.log = open(os.path.join(self.folder.name, "log"), "w+")
        command = [self.program, "serve", "-m", self.model, "--port", "0", "--template", "kimi", "-t", "2"]
        self.process = subprocess.Popen(command + self.options, stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        env=self.environment)
        line = self.process.stdout.readline()
        if not line.startswith("http"):
            self.log.seek(0)
            raise SystemExit("the server did not start: " + self.log.read())
        address = urllib.parse.urlparse(line.strip())
        self.url = line.strip()
        self.host, self.port = address.hostname, address.port
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise SystemExit("the server did not stop within a minute")
        if kind is not None:
            self.log.seek(0)
            sys.stderr.write(self.log.read()[-3000:])
        elif self.process.returncode != 0:
            self.log.seek(0)
            raise SystemExit(f"the server ended with {self.process.returncode}: {self.log.read()[-3000:]}")
        self.log.close()
        self.folder.cleanup()

    def connect(self):
        return http.client.HTTPConnection(self.host, self.port, timeout=600)

    def ask(self, method, path, body=None, headers=None):
        """Status, headers and the body, read as JSON where it is."""
        connection = self.connect()
        data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        connection.request(method, path, data, headers or {})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        is_json = answer.getheader("Content-Type", "").startswith("application/json")
        return answer.status, answer.headers, json.loads(text) if is_json else text.decode()

    def get(self, path, **more):
        status, _, body = self.ask("GET", path, **more)
        expect(status == 200, f"GET {path}: {status} {body}")
        return body

    def until_busy(self, n=1):
        """Until n requests are there, not all waiting; their answers have to be longer than it takes to look."""
        end, slots = time.time() + 30, []
        while len(slots) < n or all(one["state"] == "waiting" for one in slots):
            slots = self.get("/slots")
            expect(time.time() < end, f"{n} requests were never there together")
            time.sleep(0.002)

    def post(self, path, body, **more):
        status, _, answer = self.ask("POST", path, body, **more)
        expect(status == 200, f"POST {path}: {status} {answer}")
        return answer

    def refused(self, status, body, *words, path="/v1/chat/completions", **more):
        """The request is refused with this status, and the sentence has these words."""
        got, _, answer = self.ask("POST", path, body, **more)
        expect(got == status, f"{path} {str(body)[:100]}: {got} instead of {status}: {str(answer)[:300]}")
        message = answer["error"]["message"]
        for word in words:
            expect(word in message, f"{path} {str(body)[:100]}: \"{word}\" is not in: {message}")
        return answer

    def stream(self, path, body, headers=None):
        """The events of a stream: (name, data), data as JSON but for [DONE]."""
        connection = self.connect()
        connection.request("POST", path, json.dumps(dict(body, stream=True)), headers or {})
        answer = connection.getresponse()
        expect(answer.status == 200, f"{path}: {answer.status}")
        expect(answer.getheader("Content-Type") == "text/event-stream", "the type of a stream")
        text = answer.read().decode()  # strict: no half characters
        connection.close()
        events = []
        for block in text.split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
            if "data" in fields:
                data = fields["data"]
                events.append((fields.get("event"), data if data == "[DONE]" else json.loads(data)))
        return events

    def metric(self, name):
        for line in self.get("/metrics").split("\n"):
            if line.startswith("klinear_" + name + " "):
                return float(line.split()[1])
        raise SystemExit("no metric " + name)


def make_model(program, folder):
    path = os.path.join(folder, "tiny.gguf")
    subprocess.run([program, "init", "--preset", "tiny", "--dtype", "q8_0", "-o", path], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return path


def expect(true, sentence):
    if not true:
        raise SystemExit("FAILED: " + sentence)
