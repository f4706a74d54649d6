"""An HTTP server of endless video on the loopback address, which can be ended and started again."""

import io
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np


def transport_stream(count=30, size=(64, 96), rate=25):
    """A piece of MPEG-TS whose grey grows from frame to frame."""
    written = io.BytesIO()
    with av.open(written, "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt, stream.gop_size = "yuv420p", 5
        stream.codec_context.max_b_frames = 0
        for i in range(count):
            picture = np.full((*size, 3), 20 + 3 * (i % 60), np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return written.getvalue()


class StreamServer:
    """Serves bytes in pieces, slowly; with `hangs`, it stops in the middle and says nothing."""

    def __init__(self, content, port=0, seconds=0.6, hangs=False):
        ended = self.ended = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "video/mp2t")
                self.end_headers()
                pieces = 20
                length = -(-len(content) // pieces)
                for i in range(pieces):
                    if ended.is_set():
                        return
                    if hangs and i == pieces // 2:
                        ended.wait(20)
                        return
                    try:
                        self.wfile.write(content[i * length : (i + 1) * length])
                    except OSError:
                        return
                    time.sleep(seconds / pieces)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/live.ts"

    def close(self):
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()
