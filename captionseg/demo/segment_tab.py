"""The tab where a picture is segmented by words, by one model or by two."""

from __future__ import annotations

from nicegui import events, ui

from captionseg.api.pictures import Pixels, read
from captionseg.demo.backend import Backend
from captionseg.demo.data_urls import encode_picture
from captionseg.demo.elements import Progress, add_image, add_text, set_image
from captionseg.demo.segmenting import SIDE, Shown, check_words, list_present, segment
from captionseg.images import LARGEST_FILE
from captionseg.reporting.overlay import format_hexes, make_palette

NO_OTHER = "no other"
OPACITY = 55  # of the colours at first, in per cent
NEAREST = "{ block: 'nearest' }"
PICK = "getElement({}).$refs.qRef.pickFiles()"
"""What opens the browser's choice of files, of the uploader with this number."""


class SegmentTab:
    """The tab.

    Attributes:
        picture: that was dropped last; None before.
        results: of each model that was asked, of this picture.
        hidden: numbers of labels that are not shown.
        opacity: of the colours, in per cent.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.picture: Pixels | None = None
        self.results: list[Shown] = []
        self.hidden: set[int] = set()
        self.opacity = OPACITY
        with ui.element("div").classes("columns three"):
            with ui.element("form").classes("controls") as form:
                form.on("submit.prevent", self.run)
                self._add_upload()
                self._add_words()
                self._add_models()
                ui.button("Segment", color="primary").props("type=submit no-caps")
                self.progress = Progress()
            with ui.element("section").classes("results") as section:
                section.props["aria-label"] = "Results"
                self.figures = ui.element("div").classes("figures")
                self.preview = add_image()
                self.notes = ui.element("div").classes("notes")
            self.legend = ui.element("div").classes("controls")

    def _add_upload(self) -> None:
        self.upload = ui.upload(
            auto_upload=True,
            max_file_size=LARGEST_FILE,
            on_upload=self.take,
            on_rejected=lambda: self.progress.fail(
                f"only one picture at once, of at most {LARGEST_FILE // 2**20} MiB"
            ),
        )
        self.upload.props("flat bordered no-thumbnails").classes("drop")
        with self.upload.add_slot("header"):
            button = ui.button("Choose a picture", icon="add_photo_alternate", color="primary")
            button.props("no-caps outline")
            button.on("click", js_handler=f"() => {PICK.format(self.upload.id)}")
            add_text("or drop it here", "p")
            with ui.element("div").props("aria-hidden=true"):  # the button is for keyboards
                ui.element("q-uploader-add-trigger")

    def _add_words(self) -> None:
        self.words = ui.input("Words, with commas between", placeholder="zebra, grass")
        self.words.props(
            'outlined hint="Several names of one: person; people; man" autocomplete=off'
        )

    def _add_models(self) -> None:
        names = self.backend.models.names
        self.model = ui.select(names, label="Model", value=names[0]).props("outlined")
        self.second = ui.select([NO_OTHER, *names], label="Compare with", value=NO_OTHER)
        self.second.props("outlined").set_visibility(len(names) > 1)
        self.other = ui.checkbox("Leave out what other words fit better")

    async def take(self, event: events.UploadEventArguments) -> None:
        """Read a picture that was dropped; it stays in memory."""
        data, name = await event.file.read(), event.file.name
        self.upload.reset()

        async def work() -> tuple[Pixels, str]:
            pixels = await self.backend.read(lambda: read(data, name=name))
            return pixels, await self.backend.read(encode_picture, pixels.image, SIDE)

        found = await self.progress.watch("Reading the picture", work)
        if found is None:
            return
        self.picture, source = found
        self.show([])
        set_image(self.preview, source, f"{name}, not yet segmented")
        if (self.words.value or "").strip():
            await self.run()
        else:
            self.progress.say("Now type words")

    async def run(self) -> None:
        """Segment the picture by the words that are typed."""
        picture, words = self.picture, self.words.value or ""
        if picture is None:
            self.progress.fail("picture: choose one first")
            return
        other = True if self.other.value else None
        names = list(
            dict.fromkeys(n for n in (self.model.value, self.second.value) if n != NO_OTHER)
        )

        async def work() -> list[Shown]:
            check_words(words)
            results = []
            for name in names:
                self.progress.say(f"Loading {name}")
                model = await self.backend.compute(self.backend.models.get, name)
                self.progress.say(f"Segmenting by {name}")
                shown = await self.backend.compute(
                    segment, model, name, picture, words, other=other
                )
                results.append(shown)
            return results

        results = await self.progress.watch("Looking at the words", work)
        if results:
            self.show(results)
            await self.draw()
            ui.run_javascript(f"getHtmlElement({self.figures.id}).scrollIntoView({NEAREST})")

    def show(self, results: list[Shown]) -> None:
        """Build the legend and the places of the pictures of new results."""
        self.results, self.hidden, self.opacity = results, set(), OPACITY
        for part in (self.legend, self.figures, self.notes):
            part.clear()
        self.preview.set_visibility(False)
        self.images = []
        if not results:
            return
        with self.figures:
            for shown in results:
                with ui.element("figure"):
                    self.images.append(add_image())
                    add_text(shown.describe(), "figcaption")
        with self.notes:
            for line in dict.fromkeys(note for shown in results for note in shown.notes):
                add_text(line)
        with self.legend:
            self._add_legend()

    def _add_legend(self) -> None:
        present, absent = list_present(self.results)
        labels = self.results[0].result.labels
        colours = format_hexes(make_palette(len(labels)))
        with ui.element("fieldset"):
            add_text("Shown", "legend")
            for number in present:
                with ui.element("div").classes("entry"):
                    swatch = ui.element("span").classes("swatch").props("aria-hidden=true")
                    swatch.style["background"] = colours[number]
                    box = ui.checkbox(labels[number], value=True)
                    box.on_value_change(lambda event, n=number: self.toggle(n, bool(event.value)))
        if absent:
            add_text(f"Nowhere: {', '.join(absent)}")
        with ui.element("label"):
            add_text("Opacity of the colours", "span")
            slider = ui.element("input").props(f"type=range min=0 max=100 step=5 value={OPACITY}")
            slider.on("change", self.fade, js_handler="(event) => emit(event.target.value)")

    async def toggle(self, label: int, shown: bool) -> None:
        """Show a label, or leave its pixels as they are."""
        (self.hidden.discard if shown else self.hidden.add)(label)
        await self.draw()

    async def fade(self, event: events.GenericEventArguments) -> None:
        """Change how opaque the colours are."""
        self.opacity = min(100, max(0, int(event.args)))
        await self.draw()

    async def draw(self) -> None:
        """Draw all results anew."""
        hidden, opacity = frozenset(self.hidden), self.opacity / 100
        for image, shown in zip(self.images, self.results, strict=True):
            source = await self.backend.read(
                lambda s=shown: encode_picture(s.draw(hidden, opacity))
            )
            set_image(
                image, source, f"{shown.result.name} in the colours of its labels, by {shown.model}"
            )
