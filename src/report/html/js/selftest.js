// The page against the numbers that came with it: the same requests, judged twice, must give the same results.

function selftest(data) {
  const wrong = [];
  const check = (what, here, there, tolerance = 1e-9) => {
    const same = here === there || (here !== null && there !== null && Math.abs(here - there) <= tolerance * Math.max(1, Math.abs(there)));
    if (!same) wrong.push(`${what}: ${here} in the page, ${there} in the report`);
  };
  const slo = { ttft: data.slo.ttft_ms, tpot: data.slo.tpot_ms, ...(data.slo.e2el_ms === undefined ? {} : { e2el: data.slo.e2el_ms }) };
  const limits = limitsOf(slo, data.units);
  // Scales are quotients of whole units: they are as fine as a unit is of its limit.
  const grain = 1.01 / Math.min(limits.ttft, limits.tpot, limits.e2el);
  let points = 0;
  for (const judged of judge(data, { slo, target: data.target, scaleRate: data.scaleRate })) {
    const { arm } = judged;
    for (const point of arm.points) {
      points += 1;
      const here = attainment([point], limits);
      const where = `${arm.name} at ${point.rate} req/s, attempt ${point.attempt}`;
      check(`${where}, requests`, here.offered, point.offered);
      for (const [kind, there] of Object.entries(point.attainment)) if (there !== null) check(`${where}, ${kind}`, here[kind], there);
    }
    check(`${arm.name}, crossing`, judged.maxRate.value, arm.max_rate.value);
    check(`${arm.name}, crossings`, judged.maxRate.all.length, arm.max_rate.all?.length ?? 0);
    if (judged.maxRate.censored !== arm.max_rate.censored) {
      wrong.push(`${arm.name}, side: ${judged.maxRate.censored} in the page, ${arm.max_rate.censored} in the report`);
    }
    check(`${arm.name}, scale`, judged.scale, arm.scale.value, grain);
  }
  return wrong.length === 0 ? `selftest: ok (${data.arms.length} arms, ${points} points)` : `selftest: ${wrong.length} differences\n${wrong.join("\n")}`;
}
