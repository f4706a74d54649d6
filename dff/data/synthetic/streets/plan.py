"""Where everything of a drawn street stands and how it moves: two kinds of street, by chance.

At a crossing the traffic passes from side to side; on a long street it comes and goes. Both have
people on the sidewalks and across the road, trees, signs and houses, so that every class is in
nearly every video.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from dff.data.synthetic.streets import sprites, textures, vehicles
from dff.data.synthetic.streets.scene import (
    BICYCLE,
    BUILDING,
    CAR,
    PERSON,
    ROAD,
    SIDEWALK,
    SIGN,
    TRUCK,
    VEGETATION,
    Camera,
    Drive,
    Surface,
    endless_ground,
    endless_sky,
    ground,
    moving_camera,
    standing,
    wall,
)
from dff.data.synthetic.streets.sketch import Sprite, flipped

_HALF_ROAD = 3.6
_SIGHT = 62.0  # metres from the camera to the end of the street


class _Street:
    """Surfaces in the making: each method adds some of them."""

    def __init__(self, rng: np.random.Generator, time: np.ndarray, drive: np.ndarray) -> None:
        self.rng, self.time = rng, time
        self.near, self.far = float(drive.min()), float(drive.max())
        self.crossing = rng.random() < 0.55
        self.corner = rng.uniform(9.0, 11.5) if self.crossing else rng.uniform(32.0, 42.0)
        self.walls_at = rng.uniform(7.6, 8.8)
        self.still: list[Surface] = []
        self.moving: list[Surface] = []

    # --- what stands still

    def lay_ground(self) -> None:
        """Adds road, sidewalks and a zebra crossing."""
        rng, side, corner, far = self.rng, self.walls_at, self.corner, self.far + _SIGHT + 30
        plain = textures.asphalt(rng, 8, 12)
        marked = textures.asphalt(rng, 2 * _HALF_ROAD, 12, marks=True)
        paving = textures.paving(rng, 4, 6)
        road, back, beyond = (-_HALF_ROAD, _HALF_ROAD), self.near - 20, corner + 7
        self.still.append(endless_ground(plain, ROAD))
        self.still.append(ground(marked, ROAD, road, (back, corner), "z"))
        self.still.append(ground(marked, ROAD, road, (beyond, far), "z"))
        zebra = textures.zebra(rng, 2 * _HALF_ROAD, 2.2)
        self.still.append(ground(zebra, ROAD, road, (corner - 2.6, corner - 0.4), "z"))
        for left, right in ((-side - 1, -_HALF_ROAD), (_HALF_ROAD, side + 1)):
            self.still.append(ground(paving, SIDEWALK, (left, right), (back, corner), "z"))
            self.still.append(ground(paving, SIDEWALK, (left, right), (beyond, far), "z"))
        for left, right in ((-60, -_HALF_ROAD), (_HALF_ROAD, 60)):
            self.still.append(ground(paving, SIDEWALK, (left, right), (beyond, beyond + 2.5), "x"))
            self.still.append(ground(paving, SIDEWALK, (left, right), (corner - 2.5, corner), "x"))

    def build_walls(self) -> None:
        """Adds houses and hedges on both sides, around the corner, and at the street's end."""
        rng, corner = self.rng, self.corner
        houses = [
            textures.facade(rng, rng.uniform(7, 12), rng.choice([4.6, 5.4, 7.2, 8.2]))
            for _ in range(7)
        ]
        hedges = [textures.hedge(rng, 9, rng.uniform(2.2, 4.2)) for _ in range(3)]

        def any_wall() -> tuple[np.ndarray, int, float]:
            if rng.random() < 0.3:
                texture = hedges[rng.integers(len(hedges))]
                return texture, VEGETATION, texture.shape[1] / textures.LEAF_TEXELS
            texture = houses[rng.integers(len(houses))]
            return texture, BUILDING, texture.shape[1] / textures.FACADE_TEXELS

        for sign in (-1, 1):
            for start, end in (
                (self.near + 2, corner - 2.5),
                (corner + 9.5, self.far + _SIGHT),
            ):
                z = end if start < corner else start
                # from the corner away, so that no house stands in the crossing road
                while start <= z <= end:
                    texture, label, length = any_wall()
                    near = z - length if start < corner else z
                    left_corner = near if sign < 0 else near + length
                    facing: Literal["left", "right"] = "right" if sign < 0 else "left"
                    self.still.append(
                        wall(texture, label, (sign * self.walls_at, left_corner), facing)
                    )
                    z += -length if start < corner else length
            x = self.walls_at
            while x < 40:
                texture, label, length = any_wall()
                left = x if sign > 0 else -x - length
                self.still.append(wall(texture, label, (left, corner + 9.5), "front"))
                x += length
        end, x = self.far + _SIGHT - 2, -14.0
        while x < 14:
            texture, label, length = any_wall()
            self.still.append(wall(texture, label, (x, end), "front"))
            x += length

    def plant(self) -> None:
        """Adds trees and signs along both kerbs."""
        rng, none = self.rng, np.zeros_like(self.time)
        kinds = [sprites.tree(rng) for _ in range(3)]
        for side in (-1, 1):
            z = self.near + rng.uniform(8, 11)
            while z < self.far + 45:
                if not self.corner - 1 < z < self.corner + 8.5:
                    x = side * rng.uniform(5.0, 6.0)
                    tree = kinds[rng.integers(len(kinds))]
                    turn = none + rng.uniform(-0.4, 0.4)
                    self.still.append(
                        standing(tree, VEGETATION, none + x, none + z, turn, none, 2.4)
                    )
                z += rng.uniform(6, 10)
        for z in np.arange(self.near + 8, self.far + 15, 2.6):
            if not self.corner - 0.4 < z < self.corner + 7.4:
                x = rng.choice([-1, 1]) * rng.uniform(3.85, 4.3)
                post = sprites.sign(rng)
                turn = none + rng.uniform(-0.35, 0.35)
                where = none + z + rng.uniform(-0.8, 0.8)
                self.still.append(standing(post, SIGN, none + x, where, turn, none, 0.6))

    # --- what moves

    def move(
        self, sprite: Sprite, label: int, start: tuple[float, float], speed: tuple[float, float],
        turn: float = 0.0,
    ) -> None:  # fmt: skip
        """Adds a moving thing.

        Args:
            sprite: Its shape.
            label: Label id.
            start: x, z in the middle of the video.
            speed: x, z, metres a frame; it changes slowly by up to about a quarter.
            turn: Its angle to the street's cross section; it changes slowly.
        """
        rng = self.rng
        swing = rng.uniform(-1, 1) * 4.0
        phase, period = rng.random(), rng.uniform(70, 110)
        eased = self.time + swing * (
            np.sin(2 * np.pi * (self.time / period + phase)) - np.sin(2 * np.pi * phase)
        )
        soft = label in (PERSON, BICYCLE)
        lean = (0.06 if soft else 0.012) * np.sin(
            2 * np.pi * (self.time / rng.uniform(14, 30) + rng.random())
        )
        bend = 0.12 * np.sin(2 * np.pi * (self.time / rng.uniform(40, 80) + rng.random()))
        x, z = start[0] + speed[0] * eased, start[1] + speed[1] * eased
        self.moving.append(standing(sprite, label, x, z, turn + bend, lean, sprite.width))

    def _side_view(self, label: int, to_right: bool) -> Sprite:
        rng = self.rng
        shape: Callable[[np.random.Generator], Sprite] = {
            CAR: vehicles.car_side,
            TRUCK: vehicles.truck_side,
            BICYCLE: sprites.bicycle,
            PERSON: lambda rng: sprites.person(rng, walks=True),
        }[label]
        return shape(rng) if to_right else flipped(shape(rng))

    def lane_across(
        self, labels: list[int], z: float, speed: float, spacing: tuple[float, float]
    ) -> None:
        """Adds a lane of side views, one after the other, as long as the video needs."""
        rng = self.rng
        reach = 9 + abs(speed) * np.abs(self.time).max()
        x = -reach + rng.uniform(0, spacing[0])
        order = int(rng.integers(len(labels)))
        while x < reach:
            label = labels[order % len(labels)]
            order += 1
            x += rng.uniform(*spacing) * (1.0 if label != TRUCK else 1.25)
            where = (x - (spacing[0] + spacing[1]) / 4, z + rng.uniform(-0.2, 0.2))
            self.move(self._side_view(label, speed > 0), label, where, (speed, 0.0))

    def lane_along(self, labels: list[int], x: float, start: float, speed: float) -> None:
        """Adds a lane of front views (they come) or back views (they go)."""
        rng, z = self.rng, start
        for label in labels:
            comes = speed < 0
            if label == BICYCLE:
                turn = rng.uniform(0.5, 0.8) * (1 if x > 0 else -1)
                sprite = self._side_view(BICYCLE, (x > 0) != comes)
                self.move(sprite, label, (x, z), (speed * 0.05, speed), turn)
            else:
                end = vehicles.car_end if label == CAR else vehicles.truck_end
                self.move(end(rng, comes), label, (x, z), (0.0, speed))
            z += rng.uniform(5.5, 8.0)

    def fill_crossing(self) -> None:
        """Adds traffic from side to side, and people on the zebra crossing."""
        rng, corner = self.rng, self.corner
        way = rng.choice([-1, 1])
        first, second = [CAR, TRUCK], [CAR, CAR, TRUCK]
        self.lane_across(first, corner + 2.2, way * rng.uniform(0.045, 0.08), (6.5, 10.0))
        self.lane_across(second, corner + 5.4, -way * rng.uniform(0.06, 0.10), (6.5, 10.0))
        self.lane_across(
            [BICYCLE], corner + 0.4, rng.choice([-1, 1]) * rng.uniform(0.03, 0.06), (4.0, 7.5)
        )
        for way in (-1, 1):
            self.lane_across(
                [PERSON], corner - 1.6 - 0.6 * way, way * rng.uniform(0.012, 0.035), (4.0, 9.0)
            )
        if rng.random() < 0.5:
            ahead = rng.uniform(6.6, 7.6)
            self.lane_along([CAR], -2.0, ahead, -rng.uniform(0.02, 0.06))

    def fill_street(self) -> None:
        """Adds traffic that comes and goes, and people who cross the road."""
        rng, travel = self.rng, self.far - self.near
        more = 1 + round(travel / 10)
        kinds = [CAR, TRUCK, CAR] if rng.random() < 0.5 else [TRUCK, CAR, CAR]
        self.lane_along(kinds * more, -1.9, rng.uniform(8, 10), -rng.uniform(0.02, 0.09))
        kinds = [CAR, TRUCK] if rng.random() < 0.6 else [TRUCK, CAR]
        self.lane_along(kinds * more, 1.9, rng.uniform(8, 10), rng.uniform(0.02, 0.13))
        self.lane_along([BICYCLE] * more, 3.2, rng.uniform(6.5, 8), rng.uniform(0.03, 0.11))
        self.lane_along([BICYCLE] * more, -3.2, rng.uniform(6.5, 9), -rng.uniform(0.01, 0.05))
        for way in (-1, 1):
            speed = way * rng.uniform(0.012, 0.035)
            self.lane_across([PERSON], rng.uniform(7, 9.5), speed, (5.0, 9.0))
        if rng.random() < 0.5:
            self.lane_across(
                [BICYCLE, CAR], rng.uniform(12, 15), rng.choice([-1, 1]) * 0.10, (8, 12)
            )

    def fill_sidewalks(self) -> None:
        """Adds people who walk along the street."""
        rng = self.rng
        for side in (-1, 1):
            z = self.near + rng.uniform(7, 9)
            while z < self.far + 14:
                speed = rng.choice([-1, 1]) * rng.uniform(0.03, 0.08)
                where = (side * rng.uniform(4.2, self.walls_at - 1.4), z)
                self.move(
                    sprites.person(rng, walks=False), PERSON, where, (rng.normal(0, 0.008), speed)
                )
                z += rng.uniform(4.0, 8.0)


def plan_street(
    rng: np.random.Generator,
    time: np.ndarray,
    height: int,
    width: int,
    drive: Drive | None = None,
) -> tuple[list[Surface], Camera]:
    """Returns the surfaces of a street, in the order of drawing within each layer, and a camera.

    Args:
        rng: Source of chance.
        time: (frames,) 0 in the middle of the video, one unit a frame at speed 1.
        height: Of a frame.
        width: Of a frame.
        drive: How the camera drives; None is evenly, with the time.
    """
    camera, driven = moving_camera(rng, time, height, width, drive)
    street = _Street(rng, time, driven)
    half_width, top = 1.6, 0.75
    heaven = endless_sky(textures.sky(rng, half_width, top, 0.15), half_width, top)
    street.lay_ground()
    street.build_walls()
    street.plant()
    if street.crossing:
        street.fill_crossing()
    else:
        street.fill_street()
    street.fill_sidewalks()
    return [heaven, *street.still, *street.moving], camera
