// Sounds beside their spectrograms: one plays at a time, a line shows where, a click or a key moves it.
(() => {
  const STEP_S = 0.5;
  const repeat = document.getElementById("repeat");
  const sounds = [...document.querySelectorAll("[data-player] audio")];

  const makePlayer = (root) => {
    const sound = root.querySelector("audio");
    if (!sound) return;
    const seconds = Number(root.dataset.seconds);
    const button = root.querySelector(".play"), time = root.querySelector(".time");
    const cursors = [...root.querySelectorAll(".cursor")], sliders = [...root.querySelectorAll(".seek")];

    const show = () => {
      const at = Math.min(sound.currentTime, seconds);
      for (const cursor of cursors) {
        cursor.hidden = false;
        cursor.style.left = `${(100 * at) / seconds}%`;
      }
      time.textContent = `${at.toFixed(1)} / ${seconds.toFixed(1)} s`;
      for (const slider of sliders) {
        slider.setAttribute("aria-valuenow", at.toFixed(2));
        slider.setAttribute("aria-valuetext", `${at.toFixed(1)} of ${seconds.toFixed(1)} s`);
      }
    };
    const follow = () => {
      show();
      if (!sound.paused) requestAnimationFrame(follow);
    };
    const seek = (at) => {
      const wanted = Math.max(0, Math.min(at, seconds - 0.01));
      if (sound.readyState === 0) {
        sound.addEventListener("loadedmetadata", () => { sound.currentTime = wanted; show(); }, { once: true });
        sound.load();
      } else {
        sound.currentTime = wanted;
        show();
      }
    };
    const playFrom = (at) => { seek(at); sound.play(); };
    const toggle = () => (sound.paused ? sound.play() : sound.pause());

    const name = () => {
      root.toggleAttribute("data-playing", !sound.paused);
      button.setAttribute("aria-label", `${sound.paused ? "Play" : "Pause"} ${button.dataset.what}`);
    };

    sound.controls = false; // the spectrogram and the button do better
    sound.loop = repeat.checked;
    button.addEventListener("click", toggle);
    sound.addEventListener("pause", name);
    sound.addEventListener("ended", name);
    sound.addEventListener("play", () => {
      for (const other of sounds) if (other !== sound) other.pause();
      name();
      requestAnimationFrame(follow);
    });
    sound.addEventListener("seeked", show);
    for (const slider of sliders) {
      slider.addEventListener("click", (event) => {
        const box = slider.getBoundingClientRect();
        playFrom((seconds * (event.clientX - box.left)) / box.width);
      });
      slider.addEventListener("keydown", (event) => {
        const moves = {
          ArrowLeft: -STEP_S, ArrowDown: -STEP_S, ArrowRight: STEP_S, ArrowUp: STEP_S,
          PageDown: -5, PageUp: 5, Home: -Infinity, End: Infinity,
        };
        if (event.key === " " || event.key === "Enter") toggle();
        else if (event.key in moves) seek(sound.currentTime + moves[event.key]);
        else return;
        event.preventDefault();
      });
    }
    const grid = root.querySelector("[role=grid]");
    if (grid) makeGrid(grid, playFrom);
  };

  // A grid has one cell in the order of tabs; arrow keys move to the others.
  const makeGrid = (grid, playFrom) => {
    const rows = [...grid.tBodies[0].rows].map((row) => [...row.cells].slice(1));
    const cells = rows.flat();
    const focus = (cell) => {
      cells.forEach((each) => { each.tabIndex = each === cell ? 0 : -1; });
      cell.focus();
    };
    grid.addEventListener("click", (event) => {
      const cell = event.target.closest("td");
      if (cell) { focus(cell); playFrom(Number(cell.dataset.start)); }
    });
    grid.addEventListener("keydown", (event) => {
      const row = rows.findIndex((each) => each.includes(event.target));
      if (row < 0) return;
      const column = rows[row].indexOf(event.target), last = rows[row].length - 1;
      const moves = {
        ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], ArrowUp: [row - 1, column],
        ArrowDown: [row + 1, column], Home: [row, 0], End: [row, last],
      };
      if (event.key === "Enter" || event.key === " ") playFrom(Number(event.target.dataset.start));
      else if (event.key in moves) {
        const cell = rows[moves[event.key][0]]?.[moves[event.key][1]];
        if (cell) focus(cell);
      } else return;
      event.preventDefault();
    });
  };

  repeat.addEventListener("change", () => { for (const sound of sounds) sound.loop = repeat.checked; });
  document.querySelectorAll("[data-player]").forEach(makePlayer);
})();
