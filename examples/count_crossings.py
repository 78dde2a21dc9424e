"""Count the objects that cross a line in a video.

    pip install "boxtune[supervision]" trackers
    python count_crossings.py mine traffic.mp4 --line 0,240,640,240

The model finds the objects of each frame, a tracker (ByteTrack) tells which is which from frame to frame, and an object
is counted when its centre has come to the other side of the line: to its left or right, for who looks from its first
end to the second.
"""

import argparse
from collections import Counter
from pathlib import Path

import supervision as sv
from trackers import ByteTrackTracker

import boxtune
from boxtune.load import Model

FAINT = 0.1
"""Detections from this score on continue the track of an object; only clearer ones begin one."""


def main(arguments: list[str] | None = None) -> None:
    """Print how many objects of each class have crossed the line of the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="what boxtune.load takes: a folder of retrain or export")
    parser.add_argument("video", type=Path)
    parser.add_argument(
        "--line", type=line, required=True, metavar="X,Y,X,Y", help="its ends, in pixels from the top left"
    )
    parser.add_argument(
        "--min_score", type=float, default=0.5, help="from which on a detection is a new object (%(default)s)"
    )
    flags = parser.parse_args(arguments)
    counts = count_crossings(boxtune.load(flags.model), flags.video, flags.line, flags.min_score)
    for name, (to_left, to_right) in counts.items():
        print(f"{name}: {to_left} to the left, {to_right} to the right")
    if not counts:
        print("Nothing has crossed the line.")


def line(text: str) -> tuple[sv.Point, sv.Point]:
    """Return the ends of a line that is written as "x,y,x,y"."""
    x1, y1, x2, y2 = (float(number) for number in text.split(","))
    return sv.Point(x1, y1), sv.Point(x2, y2)


def count_crossings(
    model: Model, video: Path, ends: tuple[sv.Point, sv.Point], min_score: float = 0.5
) -> dict[str, tuple[int, int]]:
    """Return how often objects of each class crossed a line, to its left and to its right for who looks along it."""
    tracker = ByteTrackTracker(
        frame_rate=sv.VideoInfo.from_video_path(str(video)).fps,
        track_activation_threshold=min_score,
        high_conf_det_threshold=min_score,
    )
    zone = sv.LineZone(*ends, triggering_anchors=[sv.Position.CENTER])
    frames = (frame[..., ::-1] for frame in sv.get_video_frames_generator(str(video)))  # BGR to RGB
    for found in model.stream(frames, min_score=min(FAINT, min_score)):
        zone.trigger(tracker.update(found.to_supervision()))
    to_left, to_right = Counter(zone.in_count_per_class), Counter(zone.out_count_per_class)
    return {
        zone.class_id_to_name[number]: (to_left[number], to_right[number])
        for number in sorted(to_left | to_right)
    }


if __name__ == "__main__":
    main()
