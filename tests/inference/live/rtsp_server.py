"""An RTSP server on the loopback address: `/live` is played, `/push` is recorded.

Run by the system's Python, which has GStreamer; see `rtsp.py`. It prints its port, and a line for
each frame that was pushed to it.
"""

import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", default="0")
    parser.add_argument("--width", default=96)
    parser.add_argument("--height", default=64)
    parser.add_argument("--rate", default=25)
    parser.add_argument("--file", help="H.264 in MP4, in place of a test picture")
    parser.add_argument("--scheme", choices=("basic", "digest"))
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    args = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(args.port)
    played, pushed = GstRtspServer.RTSPMediaFactory(), GstRtspServer.RTSPMediaFactory()
    shown = (
        f"videotestsrc is-live=true pattern=ball ! video/x-raw,width={args.width},"
        f"height={args.height},framerate={args.rate}/1 ! x264enc tune=zerolatency "
        f"speed-preset=ultrafast key-int-max={args.rate}"
    )
    if args.file:
        shown = f"filesrc location={args.file} ! qtdemux ! h264parse config-interval=1"
    played.set_launch(f"( {shown} ! rtph264pay name=pay0 pt=96 config-interval=1 )")
    played.set_shared(not args.file)
    for factory in (played, pushed):  # UDP is refused
        factory.set_protocols(GstRtsp.RTSPLowerTrans.TCP)
    pushed.set_launch("( rtph264depay name=depay0 ! avdec_h264 ! fakesink name=sink async=false )")
    pushed.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
    pushed.connect("media-configure", told)
    if args.scheme:
        guard(server, (played, pushed), args.scheme, args.user, args.password)
    server.get_mount_points().add_factory("/live", played)
    server.get_mount_points().add_factory("/push", pushed)
    if not server.attach(None):
        sys.exit(f"port {args.port} is in use")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def told(factory, media):
    sink = media.get_element().get_by_name_recurse_up("sink")
    sink.set_property("signal-handoffs", True)

    def tell(sink, buffer, pad):
        shape = pad.get_current_caps().get_structure(0)
        print("frame", shape.get_value("width"), shape.get_value("height"), flush=True)

    sink.connect("handoff", tell)


def guard(server, factories, scheme, user, password):
    """Lets nobody in but one user."""
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth = GstRtspServer.RTSPAuth()
    if scheme == "basic":
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    else:
        auth.set_supported_methods(2)  # GST_RTSP_AUTH_DIGEST
        auth.add_digest(user, password, token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    for factory in factories:
        factory.set_permissions(permissions)


if __name__ == "__main__":
    main()
