//! The texts below the flags on help pages. Nothing else; each line has at most 78 columns.

/// Below the list of commands.
pub const GENERAL: &str = "\
Without a command, the scenario `quickstart` runs against the embedded engine.
All flags of a load: `gridload help load`.

  gridload run control-room --subscribers 100
  gridload run my.toml --target ws://10.0.0.5:9400
  gridload capacity control-room --slo e2e_p99=20ms --slo loss=0

Exit codes: 0 valid, goals met; 1 internal error; 2 wrong usage, or a load
this host cannot carry; 3 a comparison found the candidate worse; 4 a goal was
missed; 5 the run proves nothing; 6 a comparison was inconclusive; 7 the
server refused connections, accepted no more frames, or ended.";

/// Below the flags of `run` and `check`.
pub const RUN: &str = "\
All flags of a load: `gridload help load`. Latencies count from the intended
send time of a frame. A run in which the generator or the host was too slow is
invalid (exit code 5). A server that refuses connections, accepts no more
frames or ends is reported as failed (exit code 7).

  gridload run control-room --publishers 100 --subscribers 100
  gridload run substation --set publishers.0.fps=0.2 --duration 20s
  gridload run my.toml --target ws://127.0.0.1:9400 --target-pid 1234";

/// Below all flags of a load.
pub const LOAD: &str = "\
Flags of `run`, `check`, `capacity`, `replay`, `capture` and `doctor`, and after
the `--` of `ab`.

Overlays, each for any scenario, with the keys of its values:
  fault-event     a grid fault: trigger bits, dip and swing, an alarm a PMU,
                  3 x the viewers
                    at, region_percent, alarm_desks, newcomers_over
  flap-reconnect  30 % of the dashboards are cut off and return after 1 s
                    at, share_percent, cut, silence, wait
  slow-consumers  1 % of the dashboards read at half rate, 1 % never, 1 %
                  pause 2 s every 30 s
                    slow_percent, read_rate, stopped_percent, pausing_percent
  late-frames     2 % of the frames 0.2 to 5 s late, 0.5 % withheld, 0.1 %
                  twice; 2 wrong clocks
                    late_percent, delay_min, delay_max, withheld_percent,
                    repeated_percent
  gps-loss        10 % of the PMUs lose UTC, report it, and drift 1 ms a minute
                    at, share_percent, drift_per_min
  leap-second     a second is counted twice (or skipped), with the leap bits
                    at, second
  config-change   all PMUs announce a change, then send longer frames
                    at, hold
Values follow the name, each after a colon:
  --overlay flap-reconnect:share_percent=50:wait=backoff:at=5s,gps-loss

`GRIDLOAD_LOG=debug` in the environment logs more about the generator.";
