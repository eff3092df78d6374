(() => {
  "use strict";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const color = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  /* The figures come without colors for text and grid; these follow the page. */
  const paint = (layout) => {
    layout.font.color = color("muted");
    layout.hoverlabel = {
      bgcolor: color("card"),
      bordercolor: color("rule"),
      font: { color: color("text") },
    };
    layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: color("muted"), activecolor: color("text") };
    const axes = layout.scene ?? layout;
    for (const key of Object.keys(axes).filter((key) => /^[xyz]axis/.test(key))) {
      Object.assign(axes[key], {
        gridcolor: color("grid"),
        linecolor: color("rule"),
        zerolinecolor: color("rule"),
        tickcolor: color("rule"),
      });
    }
    return layout;
  };

  const draw = (node) => {
    const source = node.querySelector('script[type="application/json"]');
    if (!source) return; // drawn before
    const figure = JSON.parse(source.textContent);
    source.remove();
    const space = node.classList.contains("space");
    delete figure.layout.height; // the style sheet decides
    Plotly.newPlot(node, figure.data, paint(figure.layout), {
      responsive: true,
      displaylogo: false,
      showSendToCloud: false,
      plotlyServerURL: "",
      displayModeBar: space ? true : matchMedia("(hover: hover)").matches ? "hover" : false,
      scrollZoom: false, // the page scrolls
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "resetCameraLastSave3d"],
    });
  };

  const drawShown = () =>
    document.querySelectorAll(".plot").forEach((node) => {
      if (!node.closest("[hidden]")) draw(node);
    });

  document.querySelectorAll('[role="tablist"]').forEach((list) => {
    const tabs = [...list.querySelectorAll('[role="tab"]')];
    const select = (chosen) => {
      for (const tab of tabs) {
        const on = tab === chosen;
        tab.setAttribute("aria-selected", String(on));
        tab.tabIndex = on ? 0 : -1;
        document.getElementById(tab.getAttribute("aria-controls")).hidden = !on;
      }
      drawShown();
    };
    list.addEventListener("click", (event) => {
      const tab = event.target.closest('[role="tab"]');
      if (tab) select(tab);
    });
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
      next.focus();
      select(next);
    });
  });

  dark.addEventListener("change", () =>
    document.querySelectorAll(".plot").forEach((node) => {
      if (node.layout) Plotly.react(node, node.data, paint(node.layout));
    }),
  );
  drawShown();
})();
