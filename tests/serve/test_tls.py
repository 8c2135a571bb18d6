"""usage: test_tls.py KLINEAR: HTTPS with a certificate of one's own.  77: no openssl, or no TLS in the server."""
import http.client
import os
import shutil
import ssl
import subprocess
import sys
import tempfile

from server import Server, expect

BODY = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "seed": 1}


class SecureServer(Server):
    context = None

    def connect(self):
        return http.client.HTTPSConnection(self.host, self.port, timeout=60, context=self.context)


def refused(program, words, *options):
    try:
        with Server(program, *options):
            expect(False, f"{options} should be refused")
    except SystemExit as end:
        if "without TLS" in str(end):
            print("skipped: the server has no TLS")
            sys.exit(77)
        expect(words in str(end), f"{words} is not in: {end}")


def main(program):
    if not shutil.which("openssl"):
        print("skipped: there is no openssl")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as top:
        cert, key, other = [os.path.join(top, name) for name in ("cert.pem", "key.pem", "other.pem")]
        for out, name in ((cert, key), (other + ".cert", other)):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
                            name, "-out", out], check=True, stderr=subprocess.DEVNULL)
        refused(program, "need each other", "--tls-cert", cert)
        refused(program, "cannot be read", "--tls-cert", cert, "--tls-key", top + "/none")
        refused(program, "as PEM", "--tls-cert", key, "--tls-key", cert)
        SecureServer.context = ssl.create_default_context(cafile=cert)
        with SecureServer(program, "--tls-cert", cert, "--tls-key", key) as s:
            expect(s.url.startswith("https://"), s.url)
            expect(s.get("/health")["status"] == "ok", "health")
            whole = s.post("/v1/chat/completions", BODY)["choices"][0]["message"]["content"]
            events = s.stream("/v1/chat/completions", BODY)
            text = "".join(c["delta"].get("content", "") for _, e in events[:-1] for c in e["choices"])
            expect(text == whole, "a stream by HTTPS")
            plain = http.client.HTTPConnection(s.host, s.port, timeout=10)
            try:
                plain.request("GET", "/health")
                expect(plain.getresponse().status != 200, "HTTP where HTTPS is due")
            except (http.client.HTTPException, OSError):
                pass
    print("fine")


main(sys.argv[1])
