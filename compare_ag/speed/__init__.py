"""Speed: the schedule of timed blocks and the statistics over launches. Pure: numbers in, numbers out.

Knows neither workers nor clocks; randomness comes in as a generator.

    schedule       block length, order, weights; when to stop
    blocks         which blocks count, and the number of a launch from them
    statistics     from launches to an interval
    student        the quantiles behind the intervals
    pair_verdicts  from intervals to words, with the noise floor
    between        one backend in two runs
    costs          steps until steady, the costs before, break-even
    stability      warnings about the measurement
    trust          whether a backend computes outside its clock
    rates          how often the intervals err
"""
