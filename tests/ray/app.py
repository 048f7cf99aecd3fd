"""A Serve application of the shape that Ray Serve LLM's build_pd_openai_app makes: a decode deployment that holds a handle to a
prefill deployment. What stands in for vLLM inside a replica is an engine of its own outside; its counters are reported through
ray.util.metrics under the names and labels that vLLM's RayPrometheusStatLogger gives them.

    python app.py PREFILL-URL DECODE-URL HTTP-PORT METRICS-PORT TEMP-DIR

Says "ready" on stdout, and ends when its stdin does."""

import asyncio
import re
import sys

import aiohttp
import ray
from ray import serve
from ray.util import metrics
from starlette.responses import JSONResponse, StreamingResponse

SAMPLE = re.compile(r"^(vllm:[^{ ]+)\{([^}]*)\} (\S+)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')


class Reporter:
    """Passes an engine's counters, gauges and histograms on to Ray, as they grow."""

    def __init__(self, url):
        self.url = url
        self.replica = serve.get_replica_context().replica_id.unique_id
        self.metrics = {}
        self.told = {}

    async def run(self):
        async with aiohttp.ClientSession() as session:
            while True:
                async with session.get(self.url + "/metrics") as answer:
                    self.report(await answer.text())
                await asyncio.sleep(0.5)

    def report(self, page):
        kinds = dict(re.findall(r"^# TYPE (\S+) (\w+)$", page, re.M))
        found = [(name, dict(LABEL.findall(labels)), float(value)) for name, labels, value in self.samples(page)]
        edges, sums = {}, {}
        for name, labels, value in found:
            if name.endswith("_bucket") and labels["le"] != "+Inf":
                edges.setdefault(name.removesuffix("_bucket"), set()).add(float(labels["le"]))
            if name.endswith("_sum"):
                sums[name.removesuffix("_sum")] = value
        for name, labels, value in found:
            own = {k: v for k, v in labels.items() if k != "le"} | {"ReplicaId": self.replica}
            base = name.removesuffix("_count")
            if kinds.get(name) == "gauge":
                self.of(metrics.Gauge, name, own).set(value, tags=own)
            elif kinds.get(name) == "counter":
                grown = self.grown(name, own, value)
                if grown:  # As vLLM does: what is zero isn't there.
                    self.of(metrics.Counter, name.removesuffix("_total"), own).inc(grown, tags=own)
            elif kinds.get(base) == "histogram" and base in edges:
                count, total = self.grown(name, own, value), self.grown(base, own, sums[base])
                if count:
                    histogram = self.of(metrics.Histogram, base, own, boundaries=sorted(e for e in edges[base] if e > 0))
                    for _ in range(int(count)):
                        histogram.observe(total / count, tags=own)

    def samples(self, page):
        return (m.groups() for m in map(SAMPLE.match, page.splitlines()) if m)

    def grown(self, name, labels, value):
        key = (name, tuple(sorted(labels.items())))
        before, self.told[key] = self.told.get(key, 0.0), value
        return value - before

    def of(self, kind, name, labels, **more):
        name = re.sub(r"[^a-zA-Z0-9_]", "_", name)
        if name not in self.metrics:
            self.metrics[name] = kind(name, description=name, tag_keys=tuple(labels), **more)
        return self.metrics[name]


class Engine:
    def __init__(self, url):
        self.url = url
        self.session = aiohttp.ClientSession()
        self.reporting = asyncio.get_running_loop().create_task(Reporter(url).run())


@serve.deployment(name="Prefill:m", ray_actor_options={"num_cpus": 0}, max_ongoing_requests=1000)
class Prefill(Engine):
    async def prefill(self, path, body):
        body = {k: v for k, v in body.items() if k != "stream_options"}
        body |= {"stream": False, "max_tokens": 1, "kv_transfer_params": {"do_remote_decode": True, "do_remote_prefill": False}}
        async with self.session.post(self.url + path, json=body) as answer:
            return (await answer.json())["kv_transfer_params"]


@serve.deployment(name="Decode:m", ray_actor_options={"num_cpus": 0}, max_ongoing_requests=1000)
class Decode(Engine):
    def __init__(self, url, prefill_server):
        super().__init__(url)
        self.prefill_server = prefill_server

    async def __call__(self, request):
        if request.url.path == "/v1/models":
            return JSONResponse({"object": "list", "data": [{"id": "m", "object": "model"}]})
        body = await request.json()
        params = await self.prefill_server.prefill.remote(request.url.path, body)
        return StreamingResponse(self.decode(request.url.path, body | {"kv_transfer_params": params}), media_type="text/event-stream")

    async def decode(self, path, body):
        async with self.session.post(self.url + path, json=body) as answer:
            async for piece in answer.content.iter_any():
                yield piece


def main(prefill, decode, http_port, metrics_port, temp_dir):
    # A minute is short where other things run on the same two cores.
    from ray.serve._private import api

    api.HTTP_PROXY_TIMEOUT = 600
    ray.init(
        num_cpus=2,
        object_store_memory=80_000_000,
        include_dashboard=False,
        logging_level="WARNING",
        _node_ip_address="127.0.0.1",
        _metrics_export_port=int(metrics_port),
        _temp_dir=temp_dir,
    )
    try:
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": int(http_port)})
        serve.run(Decode.bind(decode, Prefill.bind(prefill)), name="llm", route_prefix="/")
        print("ready", flush=True)
        sys.stdin.read()
        serve.shutdown()
    finally:
        ray.shutdown()


main(*sys.argv[1:])
