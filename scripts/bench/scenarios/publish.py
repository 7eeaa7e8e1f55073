"""What it costs to publish durably: `Publisher`, beside redis-py's own pipelines."""

from scripts.bench.control import child
from scripts.bench.lab import Lab
from scripts.bench.producer import WAYS, Cost
from scripts.bench.results import Result


async def publish(lab: Lab) -> Result:
    """Publish to 1,000 recipients whom nobody listens for."""
    result = Result("publish", f"Publishing {lab.options.published:,} durable events")
    costs: dict[str, list[Cost]] = {way: [] for way in WAYS}
    redis_cpu: dict[str, list[float]] = {way: [] for way in WAYS}
    count = lab.options.published
    async with child("scripts.bench.producer") as producer:
        for turn in range(lab.options.rounds):
            for way in WAYS:
                lab.step(f"round {turn + 1}: {way}")
                await lab.redis.flushall()
                before = await lab.redis_cpu()
                costs[way].append(
                    await producer.ask(Cost, "publish", url=lab.redis_url, way=way, count=count)
                )
                redis_cpu[way].append((await lab.redis_cpu() - before) / count * 1e6)
    cpu = {way: [cost.cpu / count * 1e6 for cost in each] for way, each in costs.items()}
    for way, each in costs.items():
        result.add(f"{way}: CPU of the producer", cpu[way], "µs")
        result.add(f"{way}: CPU of Redis", redis_cpu[way], "µs")
        result.add(f"{way}: events", [count / cost.wall for cost in each], "/s")
    one, many, script, _ = WAYS
    result.add_ratio(f"{one} / {script}", cpu[one], cpu[script])
    result.add_ratio(f"{many} / {script}", cpu[many], cpu[script])
    return result
