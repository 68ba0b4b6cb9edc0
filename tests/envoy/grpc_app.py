"""A gRPC application: servers without xDS, or a client that dials names over xDS.

    grpc_app.py serve NAME ADDRESS      answers every call with its name and the client certificate that its proxy has seen
    grpc_app.py call                    reads `kept TARGET` or `fresh TARGET` a line, calls it over a channel that stays open or over one of its
                                        own, and prints what came of it as a line of JSON
"""

import json
import sys
from concurrent import futures

import grpc
import grpc.experimental

METHOD = "/test.Echo/Call"


def serve(name, address):
    def answer(_, context):
        seen = dict(context.invocation_metadata()).get("x-forwarded-client-cert", "")
        return json.dumps({"name": name, "client": seen}).encode()

    server = grpc.server(futures.ThreadPoolExecutor(4))
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", {"Call": handler})])
    if server.add_insecure_port(address) == 0:
        sys.exit(f"cannot listen on {address}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


def channel_to(target):
    # What has no TLS by policy is called in plaintext.
    credentials = grpc.xds_channel_credentials(grpc.experimental.insecure_channel_credentials())
    # Channels would share their connections.
    return grpc.secure_channel(target, credentials, [("grpc.use_local_subchannel_pool", 1)])


def call(channel):
    try:
        return json.loads(channel.unary_unary(METHOD)(b"", timeout=20))
    except grpc.RpcError as error:
        return {"error": error.code().name, "details": error.details()}


if sys.argv[1] == "serve":
    serve(*sys.argv[2:])
else:
    # These stay open, and with them the client's stream to the server.
    kept = {}
    for line in sys.stdin:
        kind, target = line.split()
        if kind == "kept":
            if target not in kept:
                kept[target] = channel_to(target)
            answer = call(kept[target])
        else:
            with channel_to(target) as channel:
                answer = call(channel)
        print(json.dumps(answer), flush=True)
