// Start: the run's events, told to the parts of the page. What comes is data, and is shown as text.

(() => {
  const parts = { about: showAbout, now: showNow, arms: showArms, starting: showStarting, race: showRace, curves: showCurves, logs: showLogs, told: showTold };
  let waiting = {};
  let drawn = false;
  let ended = false;

  // However many events come between two frames, each part is drawn once.
  const draw = () => {
    drawn = false;
    const now = waiting;
    waiting = {};
    for (const [name, show] of Object.entries(parts)) if (name in now) show(now[name]);
    if (now.samples) {
      showSampled("engine", "engines-table", "engines-charts");
      showSampled("gpu", "gpus-table", "gpus-charts");
      byId("gpus-none").hidden = sampled.gpu.size > 0;
      byId("engines-none").hidden = sampled.engine.size > 0;
    }
  };

  const take = (event) => {
    const { samples, ...state } = JSON.parse(event.data);
    addSamples(samples);
    Object.assign(waiting, state, samples.length > 0 ? { samples: true } : {});
    if (!drawn) {
      drawn = true;
      // A page in the background is given no frames, and is drawn all the same.
      if (document.hidden) setTimeout(draw);
      else requestAnimationFrame(draw);
    }
  };

  const source = new EventSource("events");
  source.addEventListener("snapshot", (event) => {
    say(byId("connection"), "");
    forgetSamples();
    take(event);
  });
  source.addEventListener("change", take);
  source.addEventListener("end", () => {
    ended = true;
    source.close();
    say(byId("connection"), "This is the last: topobench has ended. `topobench live RUN` shows the run again.");
  });
  source.addEventListener("error", () => {
    if (ended) return;
    const gone = source.readyState === EventSource.CLOSED;
    say(byId("connection"), gone ? "The connection is gone: topobench has ended, or this is another run's address." : "The connection is lost. Trying again.");
  });
})();
